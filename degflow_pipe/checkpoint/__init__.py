"""Checkpoints: their folders, what depends on them, and `DegFlow`, the public face of a loaded one.

It imports choices, errors, files, folders, json_files, levels, model, noise, pictures, places,
settings and shipped.
"""
