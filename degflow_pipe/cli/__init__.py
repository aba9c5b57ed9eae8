"""The command line: parses, calls and prints; decides nothing.

It imports alignment, bench, calibration, cameras, chains, checkpoint, choices, defaults, engines,
errors, estimates, evaluation, exports, folders, formats, json_files, learning, levels, metrics,
pairs, places, progress, proxy, quality, recipes, reports, settings, shards, shipped, simulation,
stages, training, version and watching.
"""
