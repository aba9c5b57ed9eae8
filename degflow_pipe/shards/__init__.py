"""Shards: WebDataset tars of LR/HR pairs, their index, sums and data set card."""

FORMAT = "degflow-pipe shards"
VERSION = 1
"""What NAME.json, the mark of a finished data set, says it is."""
