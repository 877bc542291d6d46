"""What goes into a layer: sources, policy and patterns, and the scan that turns a directory into a table of entries."""
