"""A simulated zoom camera, for tests and calibration: its pictures never stand for real ones."""
