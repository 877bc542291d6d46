"""The names of annotations that mean something here (image-spec annotations.md, and containerd's own)."""

from __future__ import annotations

REF_NAME = "org.opencontainers.image.ref.name"
"""On a descriptor of a layout's index.json: what the image is called there, for fastoci the tag alone."""

IMAGE_NAME = "io.containerd.image.name"
"""On the same descriptor: the full reference, under which containerd, and docker since 25, import it."""

CREATED = "org.opencontainers.image.created"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
