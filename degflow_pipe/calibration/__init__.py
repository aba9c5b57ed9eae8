"""What is measured and then written into a checkpoint: scales, noise, and the cheapest solver.

It imports alignment, checkpoint, errors, folders, levels, metrics, model, noise, pairs,
pictures and progress.
"""
