"""Finished shards into the trees that SR trainers read, and those trainers' rules as a check.

It imports choices, decoding, engines, errors, estimates, files, folders, formats, json_files,
ledger, pairs, pictures, places, progress, reading, settings and shards.
"""
