"""Tar archives as entries: read forward, out of pieces of any size, with nothing believed that is not checked."""
