"""The stages of the pipeline, each a plain function, and the units of work that engines run.

It imports checkpoint, choices, defaults, engines, errors, files, folders, formats, ledger, levels,
model, noise, pictures, progress, settings, shards, shipped and store.
"""
