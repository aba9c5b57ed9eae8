"""Figures of generated LR against real LR, simpler ways to make LR, and pages that show both.

`evaluate` reads the pairs and asks the checkpoint; the other modules here know pictures and figures
only: (H, W, 3) uint8 RGB in, numbers, pictures or pages out.

It imports calibration, checkpoint, errors, files, folders, json_files, levels, metrics, model,
noise, pairs, pictures, progress, settings and shipped.
"""
