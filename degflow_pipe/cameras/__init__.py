"""What makes LR of HR patches: checkpoints, simulated cameras, and banks of several of them.

A camera is shown HR patches and gives LR of their size at levels of its own. `Making` says, as
data, how all LR of a grid are made: which cameras there are and their shares, what each patch
draws, and which sizes an LR of HR / S goes through. It knows nothing of stores, tars and stages.

It imports checkpoint, defaults, errors, levels, model, noise, pictures, places and simulation.
"""
