"""Kinds of text and files that may be a stranger's, read with care.

It imports json_files.
"""
