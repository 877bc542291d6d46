"""Manifests with a subject: listed by registries that have the API, and under the fallback tag for those without."""

from __future__ import annotations

import json

import pytest
from fake_registry import Reply, answer, change, error
from registrykit import described

from fastoci.errors import AccessDeniedError, InvalidImageError
from fastoci.registry.referrers import list_referrers, referrers_tag
from fastoci.spec.digest import Digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SUBJECT = Digest.of(b"subject")
TAG = f"sha256-{SUBJECT.hex}"


def signature(number: int, **fields: object) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.example.config", **blob(b"{}")},
            "layers": [],
            "subject": {"mediaType": MANIFEST, "digest": str(SUBJECT), "size": 7},
            "annotations": {"number": str(number)},
            **fields,
        }
    ).encode()


def blob(data: bytes) -> dict[str, object]:
    descriptor = described(data)
    return {"digest": str(descriptor.digest), "size": descriptor.size}


def listed(registry) -> list[dict]:
    media_type, data = registry.manifests["app"][TAG]
    assert media_type == INDEX
    return json.loads(data)["manifests"]


def test_the_tag():
    assert referrers_tag(SUBJECT) == TAG
    assert referrers_tag(Digest("sha512", "a" * 128)) == "sha512-" + "a" * 64


def test_a_registry_with_the_api_keeps_the_list(registry, connect):
    registry.on("PUT", "/manifests/", change(OCI_Subject=str(SUBJECT)))
    connect(registry).put_manifest("app", "1", MANIFEST, signature(1))
    assert TAG not in registry.manifests["app"]


def test_for_others_the_client_keeps_it(registry, connect):
    client = connect(registry)
    first, second = signature(1), signature(2, artifactType="application/vnd.example.signature")
    digests = [
        str(client.put_manifest("app", f"t{number}", MANIFEST, data)) for number, data in enumerate((first, second))
    ]
    client.put_manifest("app", "again", MANIFEST, first)
    assert listed(registry) == [
        {
            "mediaType": MANIFEST, "digest": digests[0], "size": len(first), "annotations": {"number": "1"},
            "artifactType": "application/vnd.example.config",
        },
        {
            "mediaType": MANIFEST, "digest": digests[1], "size": len(second), "annotations": {"number": "2"},
            "artifactType": "application/vnd.example.signature",
        },
    ]  # fmt: skip
    assert [str(entry.digest) for entry in list_referrers(client, "app", SUBJECT).manifests] == digests


def test_without_a_subject_nothing_is_kept(registry, connect):
    document = json.loads(signature(1))
    del document["subject"]
    connect(registry).put_manifest("app", "1", MANIFEST, json.dumps(document).encode())
    assert set(registry.manifests["app"]) == {"1", str(Digest.of(json.dumps(document).encode()))}


def test_whoever_lost_the_race_writes_again(registry, connect):
    """Another client has read the list before ours was written, and replaces it."""
    theirs = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()

    def overwritten(handler):
        reply = handler.dispatch()
        registry.manifests["app"][TAG] = (INDEX, theirs)
        return reply

    registry.on("PUT", f"/manifests/{TAG}", overwritten)
    connect(registry).put_manifest("app", "1", MANIFEST, signature(1))
    assert len(listed(registry)) == 1
    assert len(registry.requests("PUT", TAG)) == 2


def test_something_else_under_the_tag_is_left_alone(registry, connect):
    registry.manifests["app"] = {TAG: (MANIFEST, signature(9))}
    with pytest.raises(InvalidImageError):
        connect(registry).put_manifest("app", "1", MANIFEST, signature(1))
    assert registry.manifests["app"][TAG] == (MANIFEST, signature(9))


def test_the_list_of_the_api(registry, connect):
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, **blob(b"x")}]}
    registry.on("GET", "/referrers/", lambda _: Reply(200, {"Content-Type": INDEX}, json.dumps(index).encode()))
    found = list_referrers(connect(registry), "app", SUBJECT).manifests
    assert [entry.digest for entry in found] == [Digest.of(b"x")]


@pytest.mark.parametrize("action", [answer(404), answer(405), answer(200, "<html>", Content_Type="text/html")])
def test_no_api_and_no_tag_is_an_empty_list(action, registry, connect):
    registry.on("GET", "/referrers/", action)
    assert list_referrers(connect(registry), "app", SUBJECT).manifests == ()


def test_a_refusal_is_one(registry, connect):
    registry.on("GET", "/referrers/", error(403, "DENIED"))
    with pytest.raises(AccessDeniedError, match="cannot list the referrers"):
        list_referrers(connect(registry), "app", SUBJECT)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"x" * (5 << 20), b'{"schemaVersion": 2, "manifests": 7}'])
def test_hostile_lists(body, registry, connect):
    registry.on("GET", "/referrers/", lambda _: Reply(200, {"Content-Type": INDEX}, body))
    with pytest.raises(InvalidImageError):
        list_referrers(connect(registry), "app", SUBJECT)
