"""Side-by-side measurements against other programs: speed of a training step, time to a loss."""
