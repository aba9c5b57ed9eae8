"""The stages of the pipeline, each a plain function, and the units of work that engines run.

It imports alignment, cameras, checkpoint, choices, decoding, defaults, engines, errors, estimates,
files, folders, formats, json_files, ledger, levels, metrics, model, noise, pairs, pictures, places,
progress, quality, recipes, settings, shards, shipped, store and watching.
"""
