"""Figures of pictures, against others and alone; nothing here knows a checkpoint or where they lie.

It imports choices, errors, noise, pictures and quality.
"""
