"""The networks and the ODE: tensors in, tensors out; no files, no pictures in bytes.

It imports choices, errors and settings.
"""
