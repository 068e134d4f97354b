"""From batches and a model to a trained run: loss, optimiser, schedule, checkpoints, the loop."""
