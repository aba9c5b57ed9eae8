"""After the camera: what the world does to an LR before a network sees it, drawn and recorded.

It imports choices, errors, files, pictures, places, recipes and settings.
"""
