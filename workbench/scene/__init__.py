"""Everything that imports rerun."""
