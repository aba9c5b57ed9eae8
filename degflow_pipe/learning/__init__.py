"""A camera learned in one go: shots or pairs in, a calibrated, tuned and judged checkpoint out.

It imports calibration, checkpoint, defaults, engines, errors, evaluation, files, folders, formats,
json_files, levels, metrics, model, pairs, pictures, places, progress, proxy, recipes, settings,
shipped, stages and training.
"""
