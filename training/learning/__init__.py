"""From a batch to better weights: options of a run, objective, gradients, optimiser, resume, validation."""
