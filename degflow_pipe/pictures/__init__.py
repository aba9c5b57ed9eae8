"""Photos and pictures as arrays: reading, cropping, tiling, coding and showing them.

It imports decoding, engines, errors, files, formats, levels and sources.
"""
