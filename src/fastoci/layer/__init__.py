"""From a source to a layer: the block pipeline, the compressors, and the digests of both streams."""
