"""The command line: parses, calls and prints; decides nothing.

It imports alignment, bench, calibration, cameras, chains, checkpoint, choices, defaults, engines,
errors, estimates, evaluation, exports, files, formats, learning, levels, metrics, pairs, progress,
proxy, quality, recipes, reports, settings, shards, shipped, simulation, stages, training and
version.
"""
