"""What a mean cannot draw: the model of a camera's noise, and drawing it on decoded pictures.

It imports errors, pictures and settings.
"""
