"""Files that leave the workbench: reports, recordings, tables."""
