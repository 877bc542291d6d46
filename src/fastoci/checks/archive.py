"""Checks that an archive that is both tells one story: what docker reads in it must be what readers of OCI find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.spec.manifest import Manifest
from fastoci.store.docker_archive import read_docker_archive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastoci.checks.findings import Findings
    from fastoci.spec.digest import Digest
    from fastoci.store.archive_reader import Archive

__all__ = ["check_docker_list"]

_DOCKER_LIST = "manifest.json"
_OCI_INDEX = "index.json"


def check_docker_list(archive: Archive, layers: Mapping[Digest, Sequence[Digest]], findings: Findings) -> None:
    """Hold manifest.json, which `docker load` reads, against index.json, where an archive has both.

    Args:
        archive: The archive.
        layers: The layers of each image that index.json leads to, by the digest of its config.
        findings: Told what is wrong.
    """
    if archive.find_member(_DOCKER_LIST) is None or archive.find_member(_OCI_INDEX) is None:
        return
    with findings.noting(_DOCKER_LIST):
        index, blobs = read_docker_archive(archive)
        for digest in dict.fromkeys(entry.digest for entry in index.manifests):
            data = blobs[digest]
            if not isinstance(data, bytes):  # what is made up is in memory
                raise TypeError(data)
            manifest = Manifest.from_bytes(data)
            found = layers.get(manifest.config.digest)
            if found is None:
                findings.add("error", _DOCKER_LIST, "it lists an image that index.json has not", manifest.config.digest)
            elif list(found) != [layer.digest for layer in manifest.layers]:
                findings.add(
                    "error", _DOCKER_LIST, "it lists other layers for an image than index.json", manifest.config.digest
                )
