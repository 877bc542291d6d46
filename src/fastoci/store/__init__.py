"""Images on disk: OCI layouts, and tar archives of OCI's and docker's kind; written whole or not at all.

`Layout` and `ArchiveWriter` take blobs and manifests alike (`protocols.ImageWriter`), `Layout` and `Archive` give them
alike (`protocols.ImageReader`). What goes wrong with the disk is a `StoreError`, what is wrong with what stands there
an `InvalidImageError`.
"""
