from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import ImageNotFoundError, UsageError
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.store.naming import find_by_tag, name_manifest

A, B, C = (Descriptor.of("x", letter) for letter in (b"a", b"b", b"c"))


def named(*puts):
    index = Index()
    for descriptor, names in puts:
        index = name_manifest(index, descriptor, names)
    return [(entry.digest, entry.annotation(REF_NAME), entry.annotation(IMAGE_NAME)) for entry in index.manifests]


def test_a_tag_is_a_tag_and_a_reference_is_both():
    assert named((A, ["1"])) == [(A.digest, "1", None)]
    assert named((A, ["ghcr.io/me/x:1"])) == [(A.digest, "1", "ghcr.io/me/x:1")]
    assert named((A, ["me/x"])) == [(A.digest, "latest", "docker.io/me/x:latest")]
    assert named((A, ["hello:1"])) == [(A.digest, "1", "docker.io/library/hello:1")]


def test_no_name_is_an_entry_without_one():
    assert named((A, [])) == [(A.digest, None, None)]
    assert named((A, []), (A, []), (B, [])) == [(A.digest, None, None), (B.digest, None, None)]
    assert named((A, ["1"]), (A, [])) == [(A.digest, "1", None)]
    assert named((A, []), (A, ["1"])) == [(A.digest, "1", None)]


def test_a_name_moves():
    assert named((A, ["1"]), (B, ["1"])) == [(B.digest, "1", None)]
    assert named((A, ["1", "2"]), (B, ["1"])) == [(A.digest, "2", None), (B.digest, "1", None)]
    assert named((A, ["me/x:1"]), (B, ["me/y:1"])) == [(B.digest, "1", "docker.io/me/y:1")]


def test_two_repositories_with_one_tag_are_one_tag():
    assert named((A, ["a:1", "b:1", "a:1"])) == [
        (A.digest, "1", "docker.io/library/a:1"),
        (A.digest, None, "docker.io/library/b:1"),
    ]
    assert (
        named((A, ["a:1", "b:1"]), (B, ["c:2", "b:1"]))
        == [
            (A.digest, None, "docker.io/library/a:1"),
            (B.digest, "2", "docker.io/library/c:2"),
            (B.digest, "1", "docker.io/library/b:1"),
        ][1:]
    )


def test_other_annotations_of_the_manifest_stay():
    index = name_manifest(Index(), A.annotated(x="y"), ["1"])
    assert index.manifests[0].annotations == {"x": "y", REF_NAME: "1"}


@pytest.mark.parametrize("name", ["", "a b", "-a", "me/X", "x:", "x@sha256:" + "a" * 64])
def test_no_names(name):
    with pytest.raises(UsageError):
        name_manifest(Index(), A, ["1", name])


def test_find():
    index = name_manifest(name_manifest(Index(), A, ["a:1", "b:1"]), B, ["2"])
    assert find_by_tag(index, "1", "p").digest == A.digest
    assert find_by_tag(index, "b:1", "p").digest == A.digest
    assert find_by_tag(index, "docker.io/library/b:1", "p").digest == A.digest
    with pytest.raises(ImageNotFoundError, match=r"what is there: 1, docker\.io/library/b:1, 2"):
        find_by_tag(index, "b:2", "p")
    with pytest.raises(ImageNotFoundError, match=r"several images in p.*what is there") as caught:
        find_by_tag(index, None, "p")
    assert caught.value.hint


def test_find_among_what_others_wrote():
    twice = Index((A.annotated(**{REF_NAME: "1"}), B.annotated(**{REF_NAME: "1"})))
    with pytest.raises(ImageNotFoundError, match="several images '1'") as caught:
        find_by_tag(twice, "1", "p")
    assert str(A.digest) in caught.value.cause
    same = Index((A.annotated(**{REF_NAME: "1"}), A.annotated(**{REF_NAME: "2"})))
    assert find_by_tag(same, None, "p").digest == A.digest
    whole = Index((A.annotated(**{REF_NAME: "docker.io/library/busybox:latest"}), B))
    assert find_by_tag(whole, "docker.io/library/busybox:latest", "p").digest == A.digest
    with pytest.raises(ImageNotFoundError, match="no image in p"):
        find_by_tag(Index(), "1", "p")
    many = Index(tuple(A.annotated(**{REF_NAME: str(number)}) for number in range(50)))
    with pytest.raises(ImageNotFoundError, match=r"what is there: 0, 1, .*, 9 and 40 more"):
        find_by_tag(many, "x", "p")


NAMES = st.sampled_from(["1", "2", "latest", "a:1", "b:1", "b:2", "ghcr.io/me/a:1", "a"])


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.lists(NAMES, max_size=3)), max_size=6))
def test_the_last_put_of_a_name_is_what_it_means(puts):
    index = Index()
    for descriptor, names in puts:
        index = name_manifest(index, descriptor, names)
        for name in names:
            assert find_by_tag(index, name, "p").digest == descriptor.digest
    tags = [entry.annotation(REF_NAME) for entry in index.manifests if entry.annotation(REF_NAME)]
    assert len(tags) == len(set(tags)), "umoci takes a tag that comes twice for an ambiguity"
    full_names = [entry.annotation(IMAGE_NAME) for entry in index.manifests if entry.annotation(IMAGE_NAME)]
    assert len(full_names) == len(set(full_names))
