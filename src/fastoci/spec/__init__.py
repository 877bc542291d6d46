"""The OCI image specification's words as values: digests, descriptors, documents, media types, platforms and names.

Pure data, immutable, and no I/O. A document from outside is checked when it becomes a value (`from_json`,
`from_bytes`, `parse`), so that a value at hand is a valid one; what is wrong with it is an `InvalidImageError` that
names the field, or a `UsageError` where a user wrote it. Each word has a module of its own name.
"""
