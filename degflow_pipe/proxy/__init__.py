"""What LR is worth: small SR networks trained on each source of it, tested on real pairs."""
