"""Training of both stages on paired pictures: knows the model and pairs, not the pipeline."""
