from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import InvalidImageError
from fastoci.spec import mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.platform import Platform

DIGEST = "sha256:" + "a" * 64
MINIMAL = {"mediaType": mediatypes.OCI_LAYER_GZIP, "digest": DIGEST, "size": 7}


def test_of_bytes():
    descriptor = Descriptor.of(mediatypes.OCI_CONFIG, b"{}")
    assert (descriptor.media_type, descriptor.digest, descriptor.size) == (mediatypes.OCI_CONFIG, Digest.of(b"{}"), 2)
    assert descriptor.to_json() == {
        "mediaType": mediatypes.OCI_CONFIG,
        "digest": str(Digest.of(b"{}")),
        "size": 2,
    }


def test_everything_comes_back():
    obj = {
        **MINIMAL,
        "digest": str(Digest.of(b"content")),
        "urls": ["https://example.com/x"],
        "annotations": {"a": "b"},
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
        "artifactType": "application/x",
        "data": base64.b64encode(b"content").decode(),
        "newer": {"field": [1]},
    }
    descriptor = Descriptor.from_json(obj)
    assert descriptor.platform == Platform("linux", "arm", "v7")
    assert descriptor.data == b"content"
    assert descriptor.to_json() == obj
    assert Descriptor.from_json(descriptor.to_json()) == descriptor
    assert hash(descriptor) == hash(Descriptor.from_json(obj))


def test_null_and_empty_fields_are_no_fields():
    obj = {**MINIMAL, "annotations": None, "urls": None, "platform": {"os": "", "architecture": ""}, "data": None}
    assert Descriptor.from_json(obj) == Descriptor.from_json(MINIMAL)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mediaType": None}, "mediaType is missing"),
        ({"mediaType": 1}, "mediaType is not a string"),
        ({"digest": None}, "digest is missing"),
        ({"digest": "sha256:../../x"}, "digest is not a digest"),
        ({"size": None}, "size is missing"),
        ({"size": -1}, "size is -1"),
        ({"size": 2**63}, "not a number of bytes"),
        ({"size": 1.5}, "size is not an integer"),
        ({"size": True}, "size is not an integer"),
        ({"size": "7"}, "size is not an integer"),
        ({"annotations": ["a"]}, "annotations is not an object"),
        ({"annotations": {"a": 1}}, r"annotations\['a'\] is not a string"),
        ({"annotations": {"a": None}}, r"annotations\['a'\] is not a string"),
        ({"platform": "linux"}, "platform is not an object"),
        ({"platform": {"os": "linux"}}, "platform: architecture is missing"),
        ({"urls": [1]}, r"urls\[0\] is not a string"),
        ({"data": "!"}, "data is not base64"),
        ({"data": "eA=="}, "data does not have the digest"),
        ({"data": "ÿ"}, "data is not base64"),
    ],
)
def test_errors_name_the_field(change, why):
    with pytest.raises(InvalidImageError, match=why) as caught:
        Descriptor.from_json({**MINIMAL, **change}, "layers[3]")
    assert str(caught.value).startswith("layers[3]: ")


@pytest.mark.parametrize("obj", [None, [], "x", 1])
def test_no_object(obj):
    with pytest.raises(InvalidImageError, match="not an object"):
        Descriptor.from_json(obj)


def test_annotated():
    descriptor = Descriptor.of("x", b"").annotated(a="1", b="2")
    assert descriptor.annotations == {"a": "1", "b": "2"}
    assert descriptor.annotation("a") == "1"
    assert descriptor.annotated(a=None).annotations == {"b": "2"}
    assert descriptor.annotated(a=None, b=None).annotations is None
    assert descriptor.annotated(a=None, b=None).annotation("a") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)
FIELDS = ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform", "other"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5))
def test_anything_is_a_descriptor_or_refused(change):
    try:
        descriptor = Descriptor.from_json({**MINIMAL, **change})
    except InvalidImageError:
        return
    json.dumps(descriptor.to_json())
    assert Descriptor.from_json(descriptor.to_json()) == descriptor
