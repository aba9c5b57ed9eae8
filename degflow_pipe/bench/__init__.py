"""bench: this pipeline, the published procedure, the device's limit and degradations made by hand,
side by side in one run.

It imports calibration, cameras, checkpoint, choices, defaults, engines, errors, evaluation, files,
levels, model, noise, pictures, progress, reading, shards and stages.
"""
