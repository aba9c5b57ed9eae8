"""Figures of generated LR against real LR, simpler ways to make LR, and pages that show both.

Every module here knows pictures only: (H, W, 3) uint8 RGB in, numbers or pictures out.
"""
