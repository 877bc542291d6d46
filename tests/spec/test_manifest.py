from __future__ import annotations

import json

import pytest

from fastoci.errors import InvalidImageError
from fastoci.spec import mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.spec.platform import Platform

CONFIG = Descriptor.of(mediatypes.OCI_CONFIG, b"{}")
LAYER = Descriptor.of(mediatypes.OCI_LAYER_GZIP, b"layer")
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": mediatypes.OCI_MANIFEST,
    "config": CONFIG.to_json(),
    "layers": [LAYER.to_json()],
}
INDEX = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [LAYER.to_json()]}


def dumped(obj, **change):
    changed = {**obj, **change}
    return json.dumps({name: value for name, value in changed.items() if value != "absent"}).encode()


def test_manifest_round_trip():
    manifest = Manifest(CONFIG, (LAYER, LAYER), annotations={"a": "b"}, subject=LAYER, artifact_type="x/y")
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert Manifest.from_bytes(manifest.to_bytes(), mediatypes.OCI_MANIFEST) == manifest


def test_manifest_is_canonical():
    assert Manifest(CONFIG, ()).to_bytes() == (
        b'{"config":{"digest":"'
        + str(CONFIG.digest).encode()
        + b'","mediaType":"application/vnd.oci.image.config.v1+json",'
        b'"size":2},"layers":[],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )


def test_index_round_trip():
    other = Descriptor("application/x-unheard-of", LAYER.digest, 3, extra={"newer": [1]})
    index = Index((LAYER, other), annotations={"a": "b"}, subject=LAYER, artifact_type="x/y", extra={"z": None})
    assert Index.from_bytes(index.to_bytes()) == index
    assert Index.from_bytes(index.to_bytes()).manifests[1].extra == {"newer": [1]}


def test_docker_documents_are_read():
    manifest = Manifest.from_bytes(dumped(MANIFEST, mediaType=mediatypes.DOCKER_MANIFEST))
    assert manifest.media_type == mediatypes.DOCKER_MANIFEST
    assert Index.from_bytes(dumped(INDEX, mediaType=mediatypes.DOCKER_MANIFEST_LIST)).media_type in mediatypes.INDEXES


def test_media_type_may_be_left_out():
    """image-spec manifest.md: "SHOULD be used"."""
    data = dumped(MANIFEST, mediaType="absent")
    assert Manifest.from_bytes(data).media_type == mediatypes.OCI_MANIFEST
    assert Manifest.from_bytes(data, mediatypes.DOCKER_MANIFEST).media_type == mediatypes.DOCKER_MANIFEST
    assert Index.from_bytes(dumped(INDEX, mediaType="absent")).media_type == mediatypes.OCI_INDEX


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schemaVersion": "absent"}, "schemaVersion is missing"),
        ({"schemaVersion": 1}, "schemaVersion is not 2"),
        ({"mediaType": mediatypes.OCI_INDEX}, "of another kind"),
        ({"mediaType": "text/plain"}, "of another kind"),
        ({"mediaType": 1}, "mediaType is not a string"),
        ({"config": "absent"}, "config is missing"),
        ({"config": None}, "config is missing"),
        ({"config": {}}, "config: digest is missing"),
        ({"layers": "absent"}, "layers is missing"),
        ({"layers": {}}, "layers is not an array"),
        ({"layers": [{}]}, r"layers\[0\]: digest is missing"),
        ({"manifests": []}, "could be read as a manifest or as an index"),
        ({"annotations": {"a": 1}}, "annotations"),
        ({"subject": {}}, "subject: digest is missing"),
    ],
)
def test_no_manifest(change, why):
    with pytest.raises(InvalidImageError, match=why):
        Manifest.from_bytes(dumped(MANIFEST, **change))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schemaVersion": 1}, "schemaVersion is not 2"),
        ({"mediaType": mediatypes.OCI_MANIFEST}, "of another kind"),
        ({"manifests": "absent"}, "manifests is missing"),
        ({"manifests": [1]}, r"manifests\[0\] is not an object"),
        ({"layers": []}, "could be read as a manifest or as an index"),
        ({"config": {}}, "could be read as a manifest or as an index"),
    ],
)
def test_no_index(change, why):
    with pytest.raises(InvalidImageError, match=why):
        Index.from_bytes(dumped(INDEX, **change))


def test_the_finder_and_the_document_must_agree():
    with pytest.raises(InvalidImageError, match="it was found as"):
        Manifest.from_bytes(dumped(MANIFEST), mediatypes.DOCKER_MANIFEST)
    with pytest.raises(InvalidImageError, match="of another kind"):
        Manifest.from_bytes(dumped(MANIFEST, mediaType="absent"), mediatypes.OCI_INDEX)


def test_null_lists_are_empty():
    assert Manifest.from_bytes(dumped(MANIFEST, layers=None)).layers == ()
    assert Index.from_bytes(dumped(INDEX, manifests=None)).manifests == ()


def test_for_platform():
    arm = Descriptor.of("x", b"arm")
    entries = (
        LAYER,
        Descriptor("x", LAYER.digest, 1, platform=Platform("linux", "amd64")),
        Descriptor("x", arm.digest, 1, platform=Platform("linux", "arm64", "v8")),
        Descriptor("x", LAYER.digest, 1, platform=Platform("linux", "arm64")),
    )
    found = Index(entries).for_platform(Platform.parse("linux/arm64"))
    assert found is entries[2]
    assert Index(entries).for_platform(Platform("linux", "s390x")) is None
