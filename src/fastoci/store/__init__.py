"""Images on disk: OCI layouts, and tar archives of OCI's and docker's kind; written whole or not at all.

`Layout` and `ArchiveWriter` take blobs and manifests by the same methods (`blob_writer`, `put_blob`, `put_manifest`),
`Layout` and `Archive` give them by the same (`index`, `resolve`, `read_blob`, `open_blob`). What goes wrong with the
disk is a `StoreError`, what is wrong with what stands there an `InvalidImageError`.
"""
