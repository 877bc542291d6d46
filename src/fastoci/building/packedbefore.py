"""What became of layers that were packed before: an unchanged tree need not be packed to know.

It is noted under the layer's place, so that a tree which is packed for the first time is not kept waiting: its first
bytes are on their way before its scan has ended. Only where a layer of this place was packed before is it worthwhile
to know its fingerprint first, for then it may be that nothing has to be read, let alone sent.

A fingerprint stands for bytes that nobody looks at again, so only one is kept that no later change can have (see
`Fingerprint.settled`), and what is found is used only where a registry says that it has the blob.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.errors import InvalidImageError
from fastoci.registry.statedir import StateDirectory
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest

if TYPE_CHECKING:
    from fastoci.events import Sink
    from fastoci.layer.pack import PackedLayer, PlannedLayer

__all__ = ["KnownLayer", "PackedBefore"]

LIFE = 30 * 86400.0
_LARGEST = 1 << 62


@dataclass(frozen=True, slots=True)
class KnownLayer:
    """What a layer became.

    Args:
        descriptor: Its blob's.
        diff_id: The digest of its tar stream.
    """

    descriptor: Descriptor
    diff_id: Digest


class PackedBefore:
    """A small cache in the user's state directory: what a layer's place had become, and by which fingerprint.

    Args:
        sink: Told once if it cannot be written.
    """

    def __init__(self, sink: Sink) -> None:
        self._directory = StateDirectory("layers", sink, life=LIFE)

    def find(self, planned: PlannedLayer) -> KnownLayer | None:
        """Return what a layer became, None where it is not known, or not the same any more.

        Only where its place is known this waits for the fingerprint, and so for the whole scan.

        Raises:
            TreeError: The tree cannot be packed.
        """
        document = self._directory.read(planned.place)
        if document is None:
            return None
        fingerprint = planned.fingerprint()
        if document.get("fingerprint") != fingerprint.value or not fingerprint.settled:
            return None
        if document.get("tar_size") != planned.blocks.tar_size:
            return None
        size, digest, diff_id = document.get("size"), document.get("digest"), document.get("diff_id")
        if type(size) is not int or not 0 <= size < _LARGEST:
            return None
        try:
            return KnownLayer(
                Descriptor(planned.compressor.media_type, Digest.parse(str(digest)), size), Digest.parse(str(diff_id))
            )
        except InvalidImageError:
            return None

    def keep(self, planned: PlannedLayer, packed: PackedLayer) -> None:
        """Note what a layer became."""
        fingerprint = planned.fingerprint()
        if fingerprint.settled:
            self._directory.write(
                planned.place,
                {
                    "fingerprint": fingerprint.value,
                    "digest": str(packed.descriptor.digest),
                    "size": packed.descriptor.size,
                    "diff_id": str(packed.diff_id),
                    "tar_size": packed.tar_size,
                },
            )
