"""bench: this pipeline, the published procedure and the device's limit, side by side in one run."""
