"""Libraries in C that crash on damaged files (HDF5, Arrow), each in a process of its own."""
