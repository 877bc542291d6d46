"""Root filesystems on disk: a layer's changeset (image-spec layer.md) applied beneath a directory."""
