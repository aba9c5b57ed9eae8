"""Runs units of work, here or on a cluster, results in their order; knows nothing of stages.

A stage hands an engine a job and its units. Both are data: they can be pickled, and hold paths,
names and numbers. Where the work is done the job is opened, which loads what it needs; the function
that comes of it takes a unit and returns a record of what was done.

It imports choices, errors and version.
"""
