from __future__ import annotations

from fastoci.spec import mediatypes


def test_kinds_do_not_overlap():
    kinds = [mediatypes.INDEXES, mediatypes.MANIFESTS, mediatypes.CONFIGS, mediatypes.LAYERS]
    assert len(frozenset.union(*kinds)) == sum(map(len, kinds))
    assert mediatypes.NONDISTRIBUTABLE < mediatypes.LAYERS


def test_every_constant_is_one_media_type():
    constants = {name: value for name, value in vars(mediatypes).items() if name.isupper() and isinstance(value, str)}
    assert len(set(constants.values())) == len(constants) > 15
    for name, value in constants.items():
        vendor = "application/vnd.oci." if name.startswith("OCI_") else "application/vnd.docker."
        assert value.startswith(vendor)


def test_compression():
    assert mediatypes.compression_of(mediatypes.OCI_LAYER_TAR) == "none"
    assert mediatypes.compression_of(mediatypes.OCI_LAYER_GZIP) == "gzip"
    assert mediatypes.compression_of(mediatypes.OCI_LAYER_ZSTD) == "zstd"
    assert mediatypes.compression_of(mediatypes.DOCKER_LAYER_GZIP) == "gzip"
    assert mediatypes.compression_of(mediatypes.OCI_CONFIG) is None
    for media_type in mediatypes.LAYERS:
        expected = "gzip" if media_type.endswith("gzip") else "zstd" if media_type.endswith("zstd") else "none"
        assert mediatypes.compression_of(media_type) == expected
