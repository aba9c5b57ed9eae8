"""Finished shards into the trees that SR trainers read, and those trainers' rules as a check."""
