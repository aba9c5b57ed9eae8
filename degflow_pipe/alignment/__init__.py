"""Brings the LR of a scene onto its HR's grid and says what is left: arrays in, arrays out.

It imports errors.
"""
