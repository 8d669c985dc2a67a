"""The seam between the method and whatever runs the model, and its two ends: Triton, and this process."""
