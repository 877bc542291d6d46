from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from fake_registry import PASSWORD, USER, FakeRegistry, answer, error

from fastoci import events
from fastoci.errors import (
    AccessDeniedError,
    BlobMismatchError,
    ImageNotFoundError,
    InvalidImageError,
    RegistryError,
    StoreError,
    UsageError,
)
from fastoci.push import push
from fastoci.registry.options import RegistryOptions
from fastoci.spec.platform import Platform
from fastoci.store.layout import Layout
from imagekit import CONFIG, GZIP, LayoutKit, make_tar, noise


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []


@pytest.fixture
def image(kit):
    return kit.add(kit.image(), "1")


def options(**values):
    return RegistryOptions(**{"retry": 1, **values})


def standing(registry, repository, kit, descriptor):
    """Assert that an image stands with all that belongs to it, and return its manifest."""
    data = kit.file(descriptor["digest"]).read_bytes()
    assert registry.manifests[repository][descriptor["digest"]] == (descriptor["mediaType"], data)
    document = json.loads(data)
    for member in document.get("manifests", []):
        standing(registry, repository, kit, member)
    for blob in [document["config"], *document["layers"]] if "layers" in document else []:
        assert registry.blobs[repository][blob["digest"]] == kit.file(blob["digest"]).read_bytes()
    return document


def test_an_image_is_pushed(image, kit, hub):
    seen = []
    [pushed] = push(f"oci:{kit}:1", [f"{hub.host}/me/app:2"], options(), seen.append)
    assert pushed.name == f"{hub.host}/me/app@{image['digest']}"
    assert str(pushed.reference) == f"{hub.host}/me/app:2"
    manifest = standing(hub, "me/app", kit, image)
    assert hub.manifests["me/app"]["2"] == hub.manifests["me/app"][image["digest"]]

    size = manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"])
    assert [event for event in seen if isinstance(event, events.PushAllowed)] == [
        events.PushAllowed(f"{hub.host}/me/app")
    ]
    assert [event for event in seen if isinstance(event, events.Tagged)] == [
        events.Tagged(f"{hub.host}/me/app:2", image["digest"], "linux/amd64")
    ]
    assert seen[-1] == events.PushSummary(sent=size, skipped=0, mounted=0, resumed=0, repeated=0)
    done = [event for event in seen if isinstance(event, events.BlobDone)]
    assert {event.title for event in done} == {"config", *(layer["digest"][7:15] for layer in manifest["layers"])}
    assert {event.how for event in done} == {"pushed"}


def test_what_stands_is_not_sent_again(image, kit, hub):
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())
    before, seen = len(hub.requests("PATCH") + hub.requests("PUT", "/blobs/")), []
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:2"], options(), seen.append)
    assert len(hub.requests("PATCH") + hub.requests("PUT", "/blobs/")) == before
    summary = seen[-1]
    assert (summary.sent, summary.mounted) == (0, 0)
    assert summary.skipped > 0
    assert set(hub.manifests["me/app"]) == {"1", "2", image["digest"]}


def test_permission_is_proven_before_a_blob_is_touched(image, kit, hub):
    hub.auth = "token"
    with pytest.raises(AccessDeniedError, match="not allowed to push"):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())
    assert hub.requests("HEAD") == []
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options(credentials=(USER, PASSWORD)))
    standing(hub, "me/app", kit, image)


def test_permission_is_proven_everywhere_before_anything_is_sent(image, kit, hub):
    other = FakeRegistry()
    other.auth = "token"
    try:
        with pytest.raises(AccessDeniedError):
            push(f"oci:{kit}:1", [f"{hub.host}/me/app:1", f"{other.host}/me/app:1"], options())
    finally:
        other.close()
    assert hub.requests("HEAD") == hub.requests("PATCH") == hub.requests("PUT") == []


def test_manifests_come_last(image, kit, hub):
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:1", f"{hub.host}/me/app:2"], options())
    puts = [seen.path.rpartition("/")[2] for seen in hub.seen if seen.method == "PUT" and "/manifests/" in seen.path]
    first = next(number for number, seen in enumerate(hub.seen) if "/manifests/" in seen.path)
    assert puts == ["1", "2"]
    assert all("/manifests/" in seen.path for seen in hub.seen[first:])


def test_several_repositories_at_one_host_get_each_blob_once(image, kit, hub):
    seen = []
    names = [f"{hub.host}/me/app:1", f"{hub.host}/you/app:2", f"{hub.host}/me/app:3"]
    pushed = push(f"oci:{kit}:1", names, options(), seen.append)
    assert [one.name.partition("@")[0] for one in pushed] == [
        f"{hub.host}/{name}" for name in ("me/app", "you/app", "me/app")
    ]
    manifest = standing(hub, "me/app", kit, image)
    standing(hub, "you/app", kit, image)
    size = manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"])
    assert seen[-1] == events.PushSummary(sent=size, skipped=0, mounted=size, resumed=0, repeated=0)
    assert set(hub.manifests["me/app"]) == {"1", "3", image["digest"]}
    assert set(hub.manifests["you/app"]) == {"2", image["digest"]}


def test_several_hosts(image, kit, hub):
    other = FakeRegistry()
    try:
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1", f"{other.host}/me/app:1"], options())
        standing(hub, "me/app", kit, image)
        standing(other, "me/app", kit, image)
    finally:
        other.close()


def test_nothing_is_tagged_anywhere_while_a_blob_is_missing_somewhere(image, kit, hub):
    other = FakeRegistry()
    other.on("PATCH", "/blobs/", error(403, "DENIED"), times=9)
    other.on("PUT", "/blobs/", error(403, "DENIED"), times=9)
    try:
        with pytest.raises(RegistryError):
            push(f"oci:{kit}:1", [f"{hub.host}/me/app:1", f"{other.host}/me/app:1"], options())
    finally:
        other.close()
    assert hub.requests("PUT", "/manifests/") == []


def test_mounting_from_a_repository_that_is_named(image, kit, hub):
    push(f"oci:{kit}:1", [f"{hub.host}/base:1"], options())
    for name in ("base", f"{hub.host}/base"):
        seen = []
        push(f"oci:{kit}:1", [f"{hub.host}/for/{len(name)}:1"], options(), seen.append, mount_from=name)
        assert seen[-1].sent == 0
        assert seen[-1].mounted > 0
    seen = []
    push(f"oci:{kit}:1", [f"{hub.host}/other:1"], options(), seen.append, mount_from="elsewhere.example/base")
    assert seen[-1].mounted == 0


def test_an_index_goes_with_all_its_members_children_first(kit, hub):
    index = kit.add(kit.multi("amd64", "arm64", "s390x"), "m")
    seen = []
    push(f"oci:{kit}:m", [f"{hub.host}/me/app:1"], options(), seen.append)
    document = standing(hub, "me/app", kit, index)
    puts = [request.path.rpartition("/")[2] for request in hub.requests("PUT", "/manifests/")]
    assert puts == [*(member["digest"] for member in document["manifests"]), "1"]
    done = [event.digest for event in seen if isinstance(event, events.BlobDone)]
    assert len(done) == len(set(done)) == 1 + 3 + 3, "the layer that they share goes once"
    assert [event.platform for event in seen if isinstance(event, events.Tagged)] == [None]


def test_one_member_of_an_index(kit, hub):
    index = kit.multi("amd64", "arm64")
    kit.add(index, "m")
    arm = kit.read(index)["manifests"][1]
    [pushed] = push(f"oci:{kit}:m", [f"{hub.host}/me/app:1"], options(), platform=Platform.parse("linux/arm64"))
    assert str(pushed.digest) == arm["digest"]
    assert set(hub.manifests["me/app"]) == {"1", arm["digest"]}


def test_a_member_that_an_index_lists_twice_goes_once(kit, hub):
    member = kit.image()
    index = kit.add(kit.index(*[member] * 1000), "m")
    push(f"oci:{kit}:m", [f"{hub.host}/me/app:1"], options())
    standing(hub, "me/app", kit, index)
    assert len(hub.requests("PUT", "/manifests/")) == 2


def test_indexes_that_multiply_are_walked_once(kit, hub):
    descriptor = kit.image()
    for _ in range(3):
        descriptor = kit.index(*[descriptor] * 500)
    kit.add(descriptor, "m")
    push(f"oci:{kit}:m", [f"{hub.host}/me/app:1"], options())
    standing(hub, "me/app", kit, kit.read(kit.read(descriptor)["manifests"][0])["manifests"][0])


def test_indexes_nested_too_deeply_are_refused(kit, hub):
    descriptor = kit.image()
    for _ in range(6):
        descriptor = kit.index(descriptor)
    kit.add(descriptor, "m")
    with pytest.raises(InvalidImageError, match="nested"):
        push(f"oci:{kit}:m", [f"{hub.host}/me/app:1"], options())
    assert hub.seen == []


@pytest.mark.parametrize("archive", [False, True])
def test_an_archive_is_pushed_like_a_layout(archive, image, kit, hub, tmp_path):
    name = f"oci-archive:{kit.archive(tmp_path / 'a.tar')}:1" if archive else f"oci:{kit}:1"
    push(name, [f"{hub.host}/me/app:1"], options(upload="chunked", chunk_size=1000))
    standing(hub, "me/app", kit, image)


def test_by_digest_no_tag_is_made(image, kit, hub):
    seen = []
    name = f"{hub.host}/me/app@{image['digest']}"
    [pushed] = push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options(), seen.append, by_digest=True)
    assert pushed.name == name
    assert set(hub.manifests["me/app"]) == {image["digest"]}
    assert [event.name for event in seen if isinstance(event, events.Tagged)] == [name]


def test_a_digest_in_the_reference_must_be_the_image_s(image, kit, hub):
    push(f"oci:{kit}:1", [f"{hub.host}/me/app@{image['digest']}"], options())
    assert set(hub.manifests["me/app"]) == {image["digest"]}
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:x@{image['digest']}"], options())
    assert set(hub.manifests["me/app"]) == {"x", image["digest"]}
    before = len(hub.seen)
    with pytest.raises(UsageError) as caught:
        push(f"oci:{kit}:1", [f"{hub.host}/me/app@sha256:{'0' * 64}"], options())
    assert image["digest"] in caught.value.cause
    assert len(hub.seen) == before


def test_the_host_must_be_spelled_out(image, kit):
    for name in ("app", "me/app:1", "docker://me/app"):
        with pytest.raises(UsageError) as caught:
            push(f"oci:{kit}:1", [name], options())
        assert "docker.io/" in caught.value.hint


def test_skopeo_s_form_of_a_reference_is_taken(image, kit, hub):
    push(f"oci:{kit}:1", [f"docker://{hub.host}/me/app:1"], options())
    standing(hub, "me/app", kit, image)


class TestOwnNames:
    def test_the_image_s_names_are_where_it_goes(self, kit, hub):
        image = kit.image()
        kit.add(image, "1", f"{hub.host}/me/app:1")
        kit.add(image, "2", f"{hub.host}/me/app:2")
        kit.add(kit.image(b"\0" * 1024), "3", f"{hub.host}/me/app:3")
        pushed = push(f"oci:{kit}@{image['digest']}", [], options())
        assert [str(one.reference) for one in pushed] == [f"{hub.host}/me/app:1", f"{hub.host}/me/app:2"]
        assert set(hub.manifests["me/app"]) == {"1", "2", image["digest"]}

    def test_a_tag_means_its_own_name(self, kit, hub):
        image = kit.image()
        kit.add(image, "1", f"{hub.host}/me/app:1")
        kit.add(image, "2", f"{hub.host}/me/app:2")
        for name in (f"oci:{kit}:2", f"oci:{kit}:2@{image['digest']}", f"oci:{kit}:{hub.host}/me/app:2"):
            [pushed] = push(name, [], options())
            assert str(pushed.reference) == f"{hub.host}/me/app:2"

    def test_an_image_without_a_name(self, image, kit):
        with pytest.raises(UsageError, match="where to push") as caught:
            push(f"oci:{kit}:1", [], options())
        assert f"fastoci push oci:{kit}:1 HOST/" in caught.value.hint

    def test_a_name_without_a_host_is_none(self, kit):
        kit.add(kit.image(), "1", "docker.io/library/app:1")
        with pytest.raises(UsageError, match="where to push") as caught:
            push(f"oci:{kit}", [], options())
        assert caught.value.hint.endswith("HOST/app:1")


def test_an_image_at_a_registry_is_refused_with_a_word(hub):
    with pytest.raises(UsageError, match="at a registry") as caught:
        push(f"{hub.host}/me/app:1", [f"{hub.host}/me/copy:1"], options())
    assert "oci:PATH" in caught.value.hint
    assert hub.seen == []


def test_a_blob_that_is_missing_is_told_before_anything_is_sent(image, kit, hub):
    layer = kit.read(image)["layers"][0]
    kit.file(layer["digest"]).unlink()
    with pytest.raises(ImageNotFoundError, match=layer["digest"]):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())
    assert hub.seen == []


def test_a_blob_of_another_size_is_told_before_anything_is_sent(image, kit, hub):
    layer = kit.read(image)["layers"][0]
    with kit.file(layer["digest"]).open("ab") as file:
        file.write(b"x")
    with pytest.raises(InvalidImageError, match=layer["digest"]):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())
    assert hub.seen == []


def test_a_damaged_blob_does_not_arrive(image, kit, hub):
    layer = kit.read(image)["layers"][0]
    data = bytearray(kit.file(layer["digest"]).read_bytes())
    data[50] ^= 1
    kit.file(layer["digest"]).write_bytes(data)
    with pytest.raises(BlobMismatchError) as caught:
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())
    assert caught.value.what == f"{layer['digest'][7:15]} is not what it should be"
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert caught.value.cause.endswith(f"; its bytes have the digest {found}, not {layer['digest']}")
    assert "it is damaged" in caught.value.hint
    assert hub.manifests.get("me/app", {}) == {}


def test_a_blob_that_changes_while_it_is_sent(kit, hub):
    tar = make_tar({"big": noise(3 << 20)})
    image = kit.add(kit.image(tar), "1")
    layer = kit.file(kit.read(image)["layers"][0]["digest"])

    def shrink(handler):
        reply = handler.dispatch()
        os.truncate(layer, 1 << 20)
        return reply

    hub.on("PATCH", "/blobs/", shrink, skip=1)
    with pytest.raises(BlobMismatchError, match="changed while it was sent"):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options(upload="chunked", chunk_size=1 << 20, jobs=1))
    assert hub.manifests.get("me/app", {}) == {}


def test_a_disk_that_fails_is_told_as_such(image, kit, hub, monkeypatch):
    layer = kit.read(image)["layers"][0]["digest"]

    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    real = Layout.open_blob
    opened = []

    def open_blob(self, descriptor):
        if str(descriptor.digest) == layer:
            opened.append(1)
            if len(opened) > 1:  # the first time is the look whether it is there
                return Failing(bytes(descriptor.size))
        return real(self, descriptor)

    monkeypatch.setattr(Layout, "open_blob", open_blob)
    with pytest.raises(StoreError, match=f"cannot read the blob {layer}.*: input/output error"):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())


def test_layers_that_may_not_be_distributed_stay_where_they_are(kit, hub):
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": "sha256:" + "1" * 64,
        "size": 100,
        "urls": ["https://example.com/layer"],
    }
    tar = make_tar({"a": b"b"})
    own = kit.image(tar)
    layers = [foreign, *kit.read(own)["layers"]]
    config = kit.blob(json.dumps(kit.config([tar, tar])).encode(), CONFIG)
    image = kit.add(kit.manifest(config, layers), "1")
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())
    assert image["digest"] in hub.manifests["me/app"]
    assert foreign["digest"] not in hub.blobs["me/app"]


def test_an_artifact_is_pushed(kit, hub):
    empty = kit.blob(b"{}", "application/vnd.oci.empty.v1+json")
    note = kit.blob(b"a note", "text/plain")
    image = kit.add(kit.manifest(empty, [note], artifactType="application/vnd.example"), "1")
    seen = []
    push(f"oci:{kit}:1", [f"{hub.host}/me/note:1"], options(), seen.append)
    standing(hub, "me/note", kit, image)
    assert [event.platform for event in seen if isinstance(event, events.Tagged)] == [None]


def test_a_registry_that_takes_the_manifest_for_another(image, kit, hub):
    wrong = {"Docker_Content_Digest": "sha256:" + "2" * 64}
    hub.on("PUT", "/manifests/", answer(201, **wrong))
    with pytest.raises(BlobMismatchError):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options())


def big_image(kit, count=6, size=1 << 20):
    return kit.add(kit.image(*(make_tar({"big": noise(size, number)}) for number in range(count))), "1")


def test_several_blobs_travel_at_once(kit, hub):
    image = big_image(kit, count=4)
    together = threading.Barrier(3, timeout=20)

    def wait(handler):
        together.wait()
        return handler.dispatch()

    hub.on("PATCH", "/blobs/", wait, times=3)
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options(jobs=3))
    standing(hub, "me/app", kit, image)


def test_one_blob_at_a_time_where_asked(kit, hub):
    big_image(kit, count=3)
    at_work = []

    def watch(handler):
        at_work.append(1)
        reply = handler.dispatch()
        assert len(at_work) == 1
        at_work.pop()
        return reply

    hub.on("PATCH", "/blobs/", watch, times=99)
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options(jobs=1))


def test_the_first_error_stops_the_others(kit, hub):
    """The others wait for an answer that never comes, and are not waited for."""
    big_image(kit)
    waiting, over = threading.Semaphore(0), threading.Event()

    def hang(handler):
        waiting.release()
        over.wait(20)
        return handler.dispatch()

    def refuse(handler):
        waiting.acquire(timeout=20)
        return error(403, "DENIED", "no more")(handler)

    hub.on("PATCH", "/blobs/", hang, times=3)
    hub.on("PATCH", "/blobs/", refuse, times=9)
    started = time.monotonic()
    with pytest.raises(AccessDeniedError, match="me/app") as caught:
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options(jobs=4))
    assert time.monotonic() - started < 5
    over.set()
    assert "no more" in caught.value.cause
    assert hub.manifests.get("me/app", {}) == {}


@pytest.mark.parametrize("part", ["PATCH", "HEAD", "POST", "PUT"])
def test_an_interruption_is_over_within_a_second(part, kit, hub, tmp_path):
    """The registry hangs; Ctrl-C is pressed; nothing waits for it."""
    big_image(kit)
    reached, over = threading.Event(), threading.Event()

    def hang(handler):
        reached.set()
        over.wait(30)
        return handler.dispatch()

    hub.on(part, "/blobs/", hang, times=99, skip=1 if part == "POST" else 0)
    script = (
        "import sys\n"
        "from fastoci.push import push\n"
        "from fastoci.registry.options import RegistryOptions\n"
        "try:\n"
        f"    push({f'oci:{kit}:1'!r}, [{f'{hub.host}/me/app:1'!r}], RegistryOptions())\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    try:
        assert reached.wait(30)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        seconds = time.monotonic() - started
    finally:
        over.set()
        process.kill()
        process.wait()
    assert process.returncode == 130, said.decode()
    assert said == b""
    assert seconds < 1.0


def test_memory_is_bounded_by_the_jobs_and_not_by_the_blobs(hub, tmp_path):
    kit = LayoutKit(tmp_path / "big")
    layer = kit.blob(noise(1 << 20) * 64, GZIP)
    config = kit.blob(json.dumps(kit.config([b""])).encode(), CONFIG)
    kit.add(kit.manifest(config, [layer]), "1")

    def swallow(handler):
        """Take the body without keeping it."""
        while handler.unread:
            handler.read(1 << 16)
        return error(403, "DENIED")(handler)

    hub.on("PATCH", "/blobs/", swallow, times=9)
    script = (
        "import re\n"
        "from fastoci.push import push\n"
        "from fastoci.errors import AccessDeniedError\n"
        "from fastoci.registry.options import RegistryOptions\n"
        "def peak():\n"
        "    return int(re.search(r'VmHWM:\\s*([0-9]+)', open('/proc/self/status').read())[1])\n"
        "before = peak()\n"
        "try:\n"
        f"    push({f'oci:{kit}:1'!r}, [{f'{hub.host}/me/app:1'!r}], RegistryOptions(upload='monolithic'))\n"
        "except AccessDeniedError:\n"
        "    pass\n"
        "print(peak() - before)\n"
    )
    hub.on("PUT", "/blobs/", swallow, times=9)
    grown = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    assert grown < 16 << 10  # KiB
