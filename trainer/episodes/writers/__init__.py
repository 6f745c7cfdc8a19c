"""Writers of foreign formats: each takes episodes of any source and writes one dataset."""
