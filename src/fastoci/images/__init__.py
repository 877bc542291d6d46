"""Images wherever they are: opened by name, read, put together, compared, and held in a cache.

`source` opens them; the other modules are what several commands do with one that is open.
"""
