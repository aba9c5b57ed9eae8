"""bench: this pipeline, the published procedure and the device's limit, side by side in one run.

It imports calibration, cameras, checkpoint, choices, defaults, engines, errors, files, levels,
model, noise, pictures, progress, reading, shards and stages.
"""
