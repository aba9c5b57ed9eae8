"""Real pairs: where the known sets keep them, how they are read and checked, levels between knots.

It imports errors, files, metrics, pictures and settings.
"""
