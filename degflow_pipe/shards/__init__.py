"""Shards: WebDataset tars of LR/HR pairs, their index, sums and data set card."""
