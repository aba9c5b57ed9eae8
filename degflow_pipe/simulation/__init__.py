"""A simulated zoom camera, for tests and calibration: its pictures never stand for real ones.

It imports choices, defaults, engines, errors, files, folders, formats, json_files, ledger, levels,
pictures, places and progress.
"""
