"""Training of the networks on real pairs: the three stages and the loop that they share.

It imports checkpoint, choices, errors, files, folders, json_files, logs, metrics, model, pairs,
pictures, progress and settings.
"""
