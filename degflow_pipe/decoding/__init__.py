"""Bytes of a photo to RGB pixels: each kind of file is checked for damage, colours become sRGB.

It imports defaults, errors and formats.
"""
