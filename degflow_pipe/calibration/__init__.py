"""What is measured and then written into a checkpoint: scales, noise, and the cheapest solver."""
