"""Figures and their table twins."""
