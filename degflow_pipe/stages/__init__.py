"""The stages of the pipeline, each a plain function: ingest, generate, shard, run."""
