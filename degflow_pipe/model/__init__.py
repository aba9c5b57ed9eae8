"""The DegFlow model as tensors in, tensors out: no files, no command line."""
