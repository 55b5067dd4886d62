"""Training on a GPU: agreement, speed and a slice, in one call."""
