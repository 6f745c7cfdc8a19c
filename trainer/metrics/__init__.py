"""Metrics: each with its definition, unit and trivial baseline."""
