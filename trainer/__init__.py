"""Episodes, labels, optimisation, checkpoints, metrics, simulation."""
