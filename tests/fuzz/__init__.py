"""Hostile and broken files against every parser: `make fuzz N=...`, and a short slice of it in the tests."""
