"""What a build consists of: its plan, its base, its layers and where they go, and the config that names them.

`fastoci.build` and `fastoci.packlayer` join these parts.
"""
