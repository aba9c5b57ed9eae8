"""Figures of pictures against pictures; nothing here knows a checkpoint or where pictures lie.

It imports choices, errors, noise and pictures.
"""
