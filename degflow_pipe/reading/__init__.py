"""Finished shards into training pairs: streamed tar by tar, or any pair by its number.

Both ways read both layouts: a "grouped" sample (one HR, many LR) comes out as one pair a level.

It imports cameras, checkpoint, errors, files, formats, json_files, levels, pictures, places,
shards, stages and store.
"""

from degflow_pipe.reading.index import SRPairs
from degflow_pipe.reading.stream import PairStream, sr_pairs

__all__ = ["PairStream", "SRPairs", "sr_pairs"]
