"""The plain ways with every registry that is played: push, skip, mount, go on, pull, refer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from fake_registry import PASSWORD, PROFILES, USER, FakeRegistry, Handler, Reply, break_off, reset_at
from registrykit import Bytes, described, noise

from fastoci.copy import pull
from fastoci.errors import ManifestNotFoundError, RegistryResponseError
from fastoci.push import push as push_image
from fastoci.registry.client import RegistryClient
from fastoci.registry.options import RegistryOptions
from fastoci.registry.referrers import list_referrers, referrers_tag
from fastoci.registry.session import Mode
from fastoci.registry.upload import UploadResult, upload_blob
from fastoci.spec.mediatypes import OCI_MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

    from imagekit import LayoutKit

DATA = noise(450_001)
CHUNK = 100_000
LOGIN = (USER, PASSWORD)

# Bytes that a registry gets twice at most after one cut, by what it has left of the session.
REPEATED = {"keeps": 0, "whole": 150_000, "loses": len(DATA), "dropped": len(DATA)}
# The same for those whose words about it do not help: Quay's are refused once, Google has none.
WORDLESS = {"quay": CHUNK, "google": 2 * len(DATA)}

Connect = Callable[..., RegistryClient]


@pytest.fixture(params=PROFILES)
def played(request: pytest.FixtureRequest, registry: FakeRegistry) -> FakeRegistry:
    """A registry of each kind, which wants tokens and takes no manifest whose blobs are missing."""
    registry.style = request.param
    registry.auth = "token"
    registry.checks_manifests = True
    registry.repositories = {"me/base", "me/other"}
    return registry


def push(client: RegistryClient, data: bytes = DATA, **options: str) -> UploadResult:
    return upload_blob(
        client, "me/base", described(data), Bytes(data), title="layer", sink=lambda event: None, **options
    )


def stands(registry: FakeRegistry, data: bytes = DATA) -> bool:
    return registry.blobs.get("me/base", {}).get(str(described(data).digest)) == data


def test_push_and_again(played: FakeRegistry, connect: Connect) -> None:
    client = connect(played, chunk_size=CHUNK, credentials=LOGIN)
    first = push(client)
    assert stands(played)
    assert first.how == "pushed"
    # What is sent in vain: a chunk that is too large; one that may not follow another, and that other one.
    assert first.repeated <= 2 * CHUNK
    assert len(played.requests("POST", "/blobs/uploads/")) == (2 if played.style == "google" else 1)
    before = len(played.seen)
    again = push(client)
    assert (again.how, again.sent) == ("skipped", 0)
    assert [seen.method for seen in played.seen[before:]] == ["HEAD"]


def test_what_was_learnt_spares_the_second_blob(played: FakeRegistry, connect: Connect) -> None:
    client = connect(played, chunk_size=CHUNK, credentials=LOGIN)
    push(client)
    second = noise(450_001, 2)
    result = push(client, second)
    assert stands(played, second)
    assert result.repeated == 0
    assert client.profile.mode is (Mode.STREAMED if played.style == "google" else Mode.CHUNKED)
    # Another run begins with it, too.
    third = noise(450_001, 3)
    assert push(connect(played, chunk_size=CHUNK, credentials=LOGIN), third).repeated == 0


def test_mount(played: FakeRegistry, connect: Connect) -> None:
    played.put_blob("me/other", DATA)
    result = push(connect(played, credentials=LOGIN), mount_from="me/other")
    assert (result.how, result.sent) == ("mounted", 0)
    assert stands(played)
    unknown = noise(450_001, 2)
    assert push(connect(played, credentials=LOGIN), unknown, mount_from="me/other").how == "pushed"


@pytest.mark.parametrize(("number", "cut"), [(0, 1), (0, 60_000), (1, 0), (1, 33_333), (2, 65_535), (3, 10)])
def test_a_push_goes_on_after_a_cut(played: FakeRegistry, connect: Connect, number: int, cut: int) -> None:
    client = connect(played, chunk_size=CHUNK, credentials=LOGIN)
    push(client, noise(450_001, 7))  # what is refused by principle is known from here on
    before = played.received
    played.on("PATCH", "/blobs/upload", reset_at(cut), skip=number if played.style != "google" else 0)
    result = push(client)
    assert stands(played)
    most = WORDLESS.get(played.style, REPEATED[played.profile.cut])
    if (number, cut) == (0, 1):
        most += CHUNK  # `0-0` is none or one byte: both are tried
    assert played.received - before <= len(DATA) + most
    assert result.sent - result.repeated == len(DATA)
    assert client.profile.mode is not Mode.MONOLITHIC


def test_several_cuts(played: FakeRegistry, connect: Connect) -> None:
    client = connect(played, chunk_size=CHUNK, credentials=LOGIN)
    push(client, noise(450_001, 7))
    before = len(played.seen)
    for cut in (99, 5_000, 64_000):
        played.on("PATCH", "/blobs/upload", reset_at(cut), skip=1)
    push(client)
    assert stands(played)
    assert len(played.seen) - before < 60


@pytest.mark.parametrize("upload", ["monolithic", "chunked"])
def test_the_way_that_the_user_has_chosen(played: FakeRegistry, connect: Connect, upload: str) -> None:
    client = connect(played, chunk_size=CHUNK, upload=upload, credentials=LOGIN)
    refused = {"google": "chunked", "acr": "monolithic"}.get(played.style)
    if upload == refused:
        with pytest.raises(RegistryResponseError) as caught:
            push(client)
        assert caught.value.status in {405, 413}
        assert not played.sessions
    else:
        push(client)
        assert stands(played)
        assert bool(played.requests("PATCH")) is (upload == "chunked")


@pytest.mark.parametrize("cuts", [[], [0], [1], [200_000, 100_000], [100_000] * 4])
def test_pull(played: FakeRegistry, connect: Connect, cuts: list[int]) -> None:
    played.put_blob("me/base", DATA)
    for cut in cuts:
        played.on("GET", "/stored/" if played.profile.redirects else "/blobs/", break_off(cut))
    with connect(played, credentials=LOGIN).open_blob("me/base", described(DATA)) as stream:
        assert stream.read() == DATA
    assert all("authorization" not in seen.headers for seen in played.storage_seen)
    assert bool(played.storage_seen) is played.profile.redirects
    if played.profile.redirects:  # each time it is the registry that is asked, and each time it gives another URL
        assert len({seen.target for seen in played.storage_seen}) == len(cuts) + 1


def test_an_empty_blob(played: FakeRegistry, connect: Connect) -> None:
    """Some take none; some take one, and do not give it back: its bytes are known without."""
    client = connect(played, credentials=LOGIN)
    if played.profile.empty_blob == "refused":
        with pytest.raises(RegistryResponseError, match="layer part of size 0") as caught:
            push(client, b"")
        assert "empty" in str(caught.value.hint)
        return
    push(client, b"")
    with client.open_blob("me/base", described(b"")) as stream:
        assert stream.read() == b""


def test_a_repository_that_must_be_made_first(played: FakeRegistry, connect: Connect) -> None:
    client = connect(played, credentials=LOGIN)
    if not played.profile.made_before:
        client.check_push("me/new")
        return
    with pytest.raises(ManifestNotFoundError, match="NAME_UNKNOWN: The repository does not exist") as caught:
        client.check_push("me/new")
    assert "made first" in str(caught.value.hint)


def test_referrers(played: FakeRegistry, connect: Connect) -> None:
    client = connect(played, credentials=LOGIN)
    played.put_blob("me/base", b"{}")
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(described(b"{}").digest), "size": 2}
    subject = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}).encode()
    client.put_manifest("me/base", "1", OCI_MANIFEST, subject)
    found = described(subject)
    assert list_referrers(client, "me/base", found.digest).manifests == ()
    about = {"mediaType": OCI_MANIFEST, "digest": str(found.digest), "size": found.size}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], "subject": about}
    data = json.dumps({**document, "artifactType": "application/x"}).encode()
    client.put_manifest("me/base", str(described(data).digest), OCI_MANIFEST, data)
    [one] = list_referrers(client, "me/base", found.digest).manifests
    assert (one.digest, one.artifact_type) == (described(data).digest, "application/x")
    kept_by_us = referrers_tag(found.digest) in played.manifests["me/base"]
    assert kept_by_us is not played.profile.referrers


def test_a_registry_that_says_it_has_what_it_has_not(
    registry: FakeRegistry, kit: LayoutKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 201 with the right digest is believed; that it was a lie is noticed at the manifest, before there is a tag."""
    registry.checks_manifests = True
    image = kit.add(kit.image(), "1")
    layer = kit.read(image)["layers"][0]["digest"]

    def lies(handler: Handler) -> Reply:
        handler.read_all()
        return Reply(201, {"Docker-Content-Digest": layer})

    registry.on("PUT", layer.replace(":", "%3A"), lies)
    with pytest.raises(RegistryResponseError, match="MANIFEST_BLOB_UNKNOWN: blob unknown") as caught:
        push_image(f"oci:{kit}:1", [f"{registry.host}/me/base:1"])
    assert "run the same command again" in str(caught.value.hint)
    assert registry.manifests["me/base"] == {}
    push_image(f"oci:{kit}:1", [f"{registry.host}/me/base:1"])
    assert "1" in registry.manifests["me/base"]


def test_an_image_there_and_back(
    played: FakeRegistry, kit: LayoutKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cut on both ways."""
    monkeypatch.setattr("fastoci.registry.patience.Pacer.wait", lambda self, seconds: None)
    options = RegistryOptions(chunk_size=CHUNK, credentials=LOGIN, jobs=2)
    kit.add(kit.multi("amd64", "arm64"), "1")
    played.on("PATCH", "/blobs/upload", reset_at(100), skip=1)
    played.on("GET", "/stored/" if played.profile.redirects else "/blobs/sha256", break_off(10), skip=1)
    [pushed] = push_image(f"oci:{kit}:1", [f"{played.host}/me/base:1"], options)
    copied = pull(f"{played.host}/me/base:1", f"{tmp_path}/copy", options)
    assert copied.digest == pushed.digest
    blobs = sorted(path.name for path in (kit.path / "blobs/sha256").iterdir())
    assert sorted(path.name for path in (tmp_path / "copy/blobs/sha256").iterdir()) == blobs
    for name in blobs:
        assert (tmp_path / "copy/blobs/sha256" / name).read_bytes() == kit.file(f"sha256:{name}").read_bytes()
