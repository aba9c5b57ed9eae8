"""What LR is worth: small SR networks trained on each source of it, tested on real pairs.

It imports cameras, checkpoint, choices, errors, evaluation, files, folders, formats, json_files,
levels, metrics, model, noise, pairs, pictures, progress, settings and training.
"""
