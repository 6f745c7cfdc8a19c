"""Everything that imports rerun: the 3D scene of an episode as .rrd bytes. See `recording`."""
