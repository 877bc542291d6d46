"""`copy` and `pull`: the same image at the other place, byte for byte, and what faults on the way cost."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fake_registry import PASSWORD, USER, FakeRegistry, answer, change

from fastoci.copy import copy, pull
from fastoci.errors import AccessDeniedError, BlobMismatchError, RegistryError, UsageError
from fastoci.events import BlobDone, BlobProgress, PullSummary, PushSummary, Retry
from fastoci.registry.options import RegistryOptions
from fastoci.spec.platform import Platform
from imagekit import GZIP, make_tar, noise, push_by_hand, sha256

FAST = RegistryOptions(retry=4)


@pytest.fixture
def second(no_credentials):
    registry = FakeRegistry()
    yield registry
    registry.close()


@pytest.fixture
def quick(monkeypatch):
    """No waiting between tries."""
    monkeypatch.setattr("fastoci.registry.patience.Pacer.wait", lambda self, seconds: None)


def at(place, kit, image, hub, tmp_path) -> str:
    """Put an image at a place of that kind, and return its name there."""
    kit.add(image, "1")
    if place == "registry":
        push_by_hand(kit, hub, "me/app", image, "1")
        return f"docker://{hub.host}/me/app:1"
    if place == "archive":
        return f"oci-archive:{kit.archive(tmp_path / 'source.tar')}"
    return f"oci:{kit}:1"


# --- Every place to every place


@pytest.mark.parametrize("to", ["registry", "layout", "archive"])
@pytest.mark.parametrize("source", ["registry", "layout", "archive"])
@pytest.mark.parametrize("kind", ["image", "index"])
def test_the_same_image_stands_there(kind, source, to, kit, hub, second, fastoci, tmp_path):
    image = kit.image() if kind == "image" else kit.multi("amd64", "arm64")
    name = at(source, kit, image, hub, tmp_path)
    target = {
        "registry": f"docker://{second.host}/them/copy:2",
        "layout": f"oci:{tmp_path}/out:2",
        "archive": f"oci-archive:{tmp_path}/out.tar:2",
    }[to]
    code, out, err = fastoci("copy", name, target)
    assert code == 0, err
    assert out.endswith(f"@{image['digest']}\n")
    code, said, err = fastoci("validate", out.strip())
    assert code == 0, said + err
    assert f"({'1 image' if kind == 'image' else '2 images'}, " in said
    assert fastoci("inspect", "--raw", target)[1].encode() == kit.file(image["digest"]).read_bytes()


def test_one_platform(kit, hub, fastoci, tmp_path):
    name = at("registry", kit, kit.multi("amd64", "arm64"), hub, tmp_path)
    code, out, err = fastoci("copy", name, f"oci:{tmp_path}/out", "--platform", "linux/arm64")
    assert code == 0, err
    assert json.loads(fastoci("inspect", "--json", out.strip())[1])["platform"] == "linux/arm64"
    assert out.startswith(f"oci:{tmp_path}/out:1@sha256:")


def test_a_docker_archive_holds_the_image_for_this_host(kit, hub, fastoci, tmp_path):
    host = Platform.host().architecture
    name = at("registry", kit, kit.multi("s390x", host), hub, tmp_path)
    code, _, err = fastoci("copy", name, f"docker-archive:{tmp_path}/out.tar")
    assert code == 0, err
    with tarfile.open(tmp_path / "out.tar") as archive:
        (listed,) = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(listed["Config"]))
    assert config["architecture"] == host
    assert listed["RepoTags"] == [f"{hub.host}/me/app:1"]


def test_names_come_along(kit, fastoci, tmp_path):
    image = kit.add(kit.image(), "1", "ghcr.io/me/app:1")
    assert fastoci("copy", f"oci:{kit}", f"oci:{tmp_path}/a")[0] == 0
    (entry,) = json.loads((tmp_path / "a/index.json").read_bytes())["manifests"]
    assert entry["annotations"] == {
        "io.containerd.image.name": "ghcr.io/me/app:1",
        "org.opencontainers.image.ref.name": "1",
    }
    assert fastoci("copy", f"oci:{kit}:1", f"oci:{tmp_path}/b:other")[0] == 0
    assert fastoci("digest", f"oci:{tmp_path}/b:other")[1] == f"{image['digest']}\n"


def test_a_layout_takes_several(kit, fastoci, tmp_path):
    one, two = kit.add(kit.image(), "1"), kit.add(kit.image(make_tar({"x": b"x"})), "2")
    for tag in ("1", "2"):
        assert fastoci("copy", f"oci:{kit}:{tag}", f"oci:{tmp_path}/out:{tag}")[0] == 0
    entries = json.loads((tmp_path / "out/index.json").read_bytes())["manifests"]
    assert [entry["digest"] for entry in entries] == [one["digest"], two["digest"]]


def test_stdout(kit, hub, fastoci, tmp_path):
    image = kit.image()
    at("registry", kit, image, hub, tmp_path)
    for arguments in (["copy", f"docker://{hub.host}/me/app:1", "-"], ["pull", f"{hub.host}/me/app:1", "-"]):
        buffer = io.BytesIO()
        copied = {"copy": copy, "pull": pull}[arguments[0]](*arguments[1:], stdout=buffer)
        assert (copied.name, str(copied.digest)) == ("", image["digest"])
        with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
            assert "blobs/" + image["digest"].replace(":", "/") in archive.getnames()
        code, _, err = fastoci(*arguments, "--json")
        assert (code, "stdout is for one" in err) == (2, True)


# --- From registry to registry


def test_one_registry_mounts(kit, hub, fastoci, tmp_path):
    name = at("registry", kit, kit.image(), hub, tmp_path)
    code, _, err = fastoci("copy", name, f"docker://{hub.host}/other:1", "--progress=plain")
    assert code == 0, err
    assert hub.requests("PATCH") == hub.requests("PUT", "/blobs/") == []
    assert not [seen for seen in hub.requests("GET", "/blobs/") if seen.headers.get("range") != "bytes=0-0"][1:]
    assert err.count("mounted sha256:") == 3


@contextmanager
def opening_noted(opened):
    """Note the path of every file that is opened to be written."""
    noting = True

    def hear(event, arguments):
        # A hook stays as long as the process does.
        if noting and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened.append(arguments[0])

    sys.addaudithook(hear)
    try:
        yield
    finally:
        noting = False


def test_another_registry_gets_it_without_disk(kit, hub, second, tmp_path, monkeypatch):
    image = kit.image(make_tar({"big": noise(3 << 20)}))
    name = at("registry", kit, image, hub, tmp_path)
    state = tmp_path / "state"
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(state))
    before = set(tmp_path.rglob("*"))
    events, opened = [], []
    with opening_noted(opened):
        copy(name, f"docker://{second.host}/x:1", sink=events.append)
    left = set(tmp_path.rglob("*")) - before
    # Notes on hosts and uploads, no blobs.
    assert all(path.is_relative_to(state) for path in left)
    assert sum(path.stat().st_size for path in left if path.is_file()) < 4096
    assert [path for path in opened if not str(path).startswith((str(state), "."))] == []
    assert len(second.blobs["x"]) == 2
    (summary,) = [event for event in events if isinstance(event, PushSummary)]
    assert summary.sent == sum(map(len, second.blobs["x"].values()))


def test_what_stands_is_not_read(kit, hub, second, tmp_path):
    image = kit.image()
    name = at("registry", kit, image, hub, tmp_path)
    copy(name, f"docker://{second.host}/x:1")
    hub.seen.clear()
    copy(name, f"docker://{second.host}/x:2")
    config = kit.read(image)["config"]["digest"]
    assert {seen.path.rpartition("/")[2] for seen in hub.requests("GET", "/blobs/")} <= {config}


def test_an_upload_that_falls_back_reads_the_source_again_from_there(kit, hub, second, tmp_path, quick):
    from fake_registry import reset_at

    image = kit.image(make_tar({"big": noise(2 << 20)}))
    name = at("registry", kit, image, hub, tmp_path)
    second.on("PATCH", "/blobs/", reset_at(700_000))
    # One after the other, the largest first: the fault is for the layer.
    copy(name, f"docker://{second.host}/x:1", FAST, replace(FAST, jobs=1))
    layer = kit.read(image)["layers"][0]["digest"]
    assert second.blobs["x"][layer] == hub.blobs["me/app"][layer]
    ranges = [seen.headers.get("range") for seen in hub.requests("GET", layer)]
    assert ranges == [None, "bytes=700000-"]


def test_wrong_bytes_of_the_source_do_not_become_a_blob(kit, hub, second, tmp_path, quick):
    image = kit.image()
    name = at("registry", kit, image, hub, tmp_path)
    layer = kit.read(image)["layers"][0]["digest"]
    data = hub.blobs["me/app"][layer]
    hub.blobs["me/app"][layer] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(RegistryError):
        copy(name, f"docker://{second.host}/x:1", FAST, FAST)
    assert layer not in second.blobs.get("x", {})
    assert "x" not in second.manifests


def test_passwords_go_to_their_hosts(kit, hub, second, fastoci, tmp_path):
    name = at("registry", kit, kit.image(), hub, tmp_path)
    hub.auth, second.auth = "token", "basic"
    target = f"docker://{second.host}/x:1"
    code, _, err = fastoci("copy", name, target, f"--src-creds={USER}:{PASSWORD}")
    assert code == 5
    assert not any("authorization" in seen.headers for seen in second.seen)
    code, _, err = fastoci("copy", name, target, f"--src-creds={USER}:{PASSWORD}", f"--dest-creds={USER}:{PASSWORD}")
    assert code == 0, err
    code, _, err = fastoci("copy", name, target, f"--creds={USER}:{PASSWORD}")
    assert code == 2
    assert "hint:  --src-creds, --dest-creds" in err
    assert PASSWORD not in err


def test_a_redirect_gets_no_password(kit, hub, second, fastoci, tmp_path):
    image = kit.image()
    name = at("registry", kit, image, hub, tmp_path)
    hub.auth = "basic"
    for digest, data in hub.blobs["me/app"].items():
        second.put_blob("cdn", data)
        hub.on("GET", digest, answer(307, Location=f"{second.url}/v2/cdn/blobs/{digest}"), times=9)
    code, _, err = fastoci("copy", name, f"oci:{tmp_path}/out", f"--src-creds={USER}:{PASSWORD}")
    assert code == 0, err
    assert len(second.requests("GET")) == 4  # the config twice: as a document, and as a blob
    assert not any("authorization" in seen.headers or "cookie" in seen.headers for seen in second.seen)


# --- Pull


def test_pull_makes_a_layout_named_after_the_repository(kit, hub, fastoci, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = kit.image()
    at("registry", kit, image, hub, tmp_path)
    code, out, err = fastoci("pull", f"{hub.host}/me/app:1", "--progress=plain")
    assert (code, out) == (0, f"oci:./app.oci:1@{image['digest']}\n"), err
    assert "pulling config" in err
    assert f"tagged oci:./app.oci:1@{image['digest']}" in err
    assert "total: fetched " in err
    code, out, err = fastoci("pull", f"{hub.host}/me/app@{image['digest']}", "there")
    assert (code, out) == (0, f"oci:./there@{image['digest']}\n"), err
    code, out, err = fastoci("pull", f"docker://{hub.host}/me/app:1", "oci-archive:x.tar", "--json")
    assert json.loads(out) == {"name": f"oci-archive:x.tar:1@{image['digest']}", "digest": image["digest"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pull", "oci:x"], "is not at a registry"),
        (["pull", "a/b:1", "oci:x@sha256:" + "0" * 64], "not the name"),
        (["copy", "oci:layout:1", "docker://app:1"], "does not say which registry to push to"),
        (["copy", "oci:layout:1", "oci:out", "--all", "--platform", "linux/amd64"], "exclude each other"),
        (["copy", "oci:layout:1"], "missing argument"),
    ],
)
def test_wrong_usage(arguments, said, kit, hub, fastoci, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kit.add(kit.image(), "1")
    push_by_hand(kit, hub, "a/b", kit.add(kit.image(), "2"), "1")
    arguments = [text.replace("a/b", f"{hub.host}/a/b") for text in arguments]
    code, out, err = fastoci(*arguments)
    assert (code, out) == (2, ""), err
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "layout"]


def test_what_is_not_there(hub, fastoci, tmp_path):
    code, _, err = fastoci("pull", f"{hub.host}/nothing:1", f"oci:{tmp_path}/out")
    assert code == 1
    assert "there is no" in err
    assert not (tmp_path / "out").exists()


def test_progress_and_what_it_cost(kit, hub, tmp_path):
    image = kit.image()
    at("registry", kit, image, hub, tmp_path)
    total = sum(map(len, hub.blobs["me/app"].values()))
    events = []
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", sink=events.append)
    assert events[-1] == PullSummary(fetched=total, skipped=0, resumed=0)
    assert {event.how for event in events if isinstance(event, BlobDone)} == {"pulled"}
    assert all(event.pulling for event in events if isinstance(event, BlobProgress))
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", sink=events.append)
    assert events[-1] == PullSummary(fetched=0, skipped=total, resumed=0)


# --- Faults on the way

SIZE = 3 << 20


def body(data, *, length=None, cut=None, **headers):
    """Answer with other bytes than were asked for; `cut` closes the connection after so many."""

    def act(handler):
        reply = handler.dispatch()
        reply.body = data if cut is None else data[:cut]
        reply.headers["Content-Length"] = str(len(data) if length is None else length)
        reply.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        if cut is not None:
            handler.close_connection = True
        return reply

    return act


def whole(handler):
    """A server that knows no ranges."""
    del handler.headers["Range"]
    return handler.dispatch()


@pytest.fixture
def large(kit, hub, tmp_path):
    """An image with one large layer, its digest and its bytes."""
    image = kit.manifest(
        kit.blob(json.dumps(kit.config([noise(SIZE)])).encode(), "application/vnd.oci.image.config.v1+json"),
        [kit.blob(noise(SIZE), GZIP)],
    )
    at("registry", kit, image, hub, tmp_path)
    layer = kit.read(image)["layers"][0]["digest"]
    return image, layer, noise(SIZE)


CUT_AT = 1_500_000


def cut(handler):
    """Send the first part of what was asked for, and close the connection."""
    reply = handler.dispatch()
    reply.headers["Content-Length"] = str(len(reply.body))
    reply.body = reply.body[:CUT_AT]
    handler.close_connection = True
    return reply


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([cut], id="reset"),
        pytest.param([cut, cut], id="resets"),
        pytest.param([cut, whole], id="200 to a Range"),
        pytest.param([cut, change(Content_Range="bytes 0-9/10")], id="another range than was asked for"),
        pytest.param([cut, change(Content_Range="garbage")], id="garbage for a range"),
        pytest.param([cut, change(Content_Range=None)], id="no Content-Range"),
        pytest.param([cut, answer(416)], id="416"),
        pytest.param([cut, answer(503), answer(429, Retry_After="1")], id="503 and 429"),
        pytest.param([answer(500)], id="500 at the start"),
    ],
)
def test_faults_that_pass(faults, large, hub, tmp_path, quick):
    image, layer, data = large
    for fault in faults:
        hub.on("GET", layer, fault)
    events = []
    pulled = pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST, sink=events.append)
    assert str(pulled.digest) == image["digest"]
    assert (tmp_path / "out/blobs" / layer.replace(":", "/")).read_bytes() == data
    assert not (tmp_path / "out/.fastoci-partial").exists()
    assert len(hub.requests("GET", layer)) <= len(faults) + 3


def test_a_token_that_runs_out_in_the_middle(large, hub, tmp_path, quick):
    _, layer, data = large
    hub.auth = "token"

    def expire(handler):
        hub.expire_tokens()
        return handler.dispatch()

    hub.on("GET", layer, cut)
    hub.on("GET", layer, expire)
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", RegistryOptions(credentials=(USER, PASSWORD)))
    assert (tmp_path / "out/blobs" / layer.replace(":", "/")).read_bytes() == data
    assert [seen.headers.get("range") for seen in hub.requests("GET", layer)][-1] == f"bytes={CUT_AT}-"


def test_a_wait_that_the_registry_asks_for(large, hub, tmp_path, monkeypatch):
    _, layer, _ = large
    waits = []
    monkeypatch.setattr("fastoci.registry.patience.Pacer.wait", lambda self, seconds: waits.append(seconds))
    hub.on("GET", layer, cut)
    hub.on("GET", layer, answer(429, Retry_After="7"))
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST)
    assert max(waits) >= 7


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(lambda data: body(data[:-1] + b"\0"), BlobMismatchError, id="wrong bytes"),
        pytest.param(lambda data: body(data + b"more"), BlobMismatchError, id="longer"),
        pytest.param(lambda data: body(data, length=SIZE + 1, cut=SIZE), BlobMismatchError, id="longer, it says"),
        pytest.param(lambda data: body(data[:-9]), BlobMismatchError, id="shorter"),
        pytest.param(lambda data: answer(403), AccessDeniedError, id="403"),
        pytest.param(lambda data: answer(404), RegistryError, id="404"),
        pytest.param(lambda data: answer(500), RegistryError, id="500 for ever"),
        pytest.param(lambda data: body(data, cut=0), RegistryError, id="reset for ever"),
        pytest.param(lambda data: answer(302, Location="http://127.0.0.1:1/"), RegistryError, id="redirect to nowhere"),
    ],
)
def test_faults_that_do_not(fault, expected, large, hub, tmp_path, quick):
    _, layer, data = large
    hub.on("GET", layer, fault(data), times=100)
    with pytest.raises(expected):
        pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST)
    assert not (tmp_path / "out/blobs" / layer.replace(":", "/")).exists()
    assert len(hub.requests("GET", layer)) <= 12
    index = tmp_path / "out/index.json"
    assert not index.exists() or json.loads(index.read_bytes())["manifests"] == []


@pytest.mark.parametrize("tail", ["wrong", "right"])
def test_a_resumed_blob_is_checked_whole(tail, large, hub, tmp_path, quick):
    """Bytes that were wrong before the connection broke: what is left must not be gone on with for ever."""
    _, layer, data = large
    wrong = b"\0" * 1_500_000 + data[1_500_000:]
    hub.on("GET", layer, body(wrong, cut=1_500_000))
    hub.on("GET", layer, answer(404))
    with pytest.raises(RegistryError):
        pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST)
    left = tmp_path / "out/.fastoci-partial" / layer.replace(":", "-")
    assert left.stat().st_size >= 1 << 20
    if tail == "wrong":
        hub.blobs["me/app"][layer] = wrong
        with pytest.raises(BlobMismatchError):
            pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST)
        assert not left.exists()
        return
    events = []
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST, sink=events.append)
    assert (tmp_path / "out/blobs" / layer.replace(":", "/")).read_bytes() == data
    assert any(isinstance(event, Retry) and "not its beginning" in event.reason for event in events)


def test_an_expired_redirect_is_asked_for_anew(large, hub, second, tmp_path, quick):
    _, layer, data = large
    second.put_blob("cdn", data)
    for number in range(3):
        hub.on("GET", layer, answer(307, Location=f"{second.url}/v2/cdn/blobs/{layer}?token={number}"))
    second.on("GET", layer, cut)
    second.on("GET", layer, answer(403))
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST)
    assert (tmp_path / "out/blobs" / layer.replace(":", "/")).read_bytes() == data
    assert [seen.target.rpartition("?")[2] for seen in second.requests("GET", layer)] == [
        "token=0",
        "token=1",
        "token=2",
    ]


def test_what_stands_after_a_failure_is_said(large, hub, fastoci, tmp_path, quick):
    _, layer, _ = large
    hub.on("GET", layer, cut)
    hub.on("GET", layer, answer(503), times=100)
    code, _, err = fastoci("pull", f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", "--retry=2")
    assert code == 4
    assert "hint:  run the same command again: 1.4 of 3.0 MiB" in err


def test_an_archive_appears_whole_or_not(large, hub, tmp_path, quick):
    _, layer, _ = large
    hub.on("GET", layer, cut)
    hub.on("GET", layer, answer(404), times=1)
    with pytest.raises(RegistryError):
        pull(f"{hub.host}/me/app:1", f"oci-archive:{tmp_path}/out.tar", FAST)
    assert not (tmp_path / "out.tar").exists()
    hub.on("GET", layer, cut)
    pull(f"{hub.host}/me/app:1", f"oci-archive:{tmp_path}/out.tar", FAST)
    with tarfile.open(tmp_path / "out.tar") as archive:
        stored = archive.extractfile("blobs/" + layer.replace(":", "/"))
        assert stored is not None
        assert sha256(stored.read()) == layer


def test_a_layout_gets_no_name_that_leads_out_of_it(kit, hub, tmp_path):
    """A digest is a file's name: only one that fits the grammar becomes one."""
    image = kit.image()
    document = kit.read(image)
    document["layers"][0]["digest"] = "sha256:../../../../evil"
    bad = kit.document(document)
    hub.manifests["me/app"] = {"1": (bad["mediaType"], kit.file(bad["digest"]).read_bytes())}
    with pytest.raises(Exception, match="digest"):
        pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_from_the_api():
    with pytest.raises(UsageError):
        pull("oci:x")


@pytest.mark.parametrize("reference", ["me/app:1", "docker://me/app:1"])
def test_a_pull_goes_to_the_disk(reference, hub, fastoci):
    """To another registry leads `copy`, which takes credentials for both."""
    source, target = reference.replace("me/", f"{hub.host}/me/"), f"docker://{hub.host}/you/app:1"
    code, out, err = fastoci("pull", source, target)
    assert (code, out) == (2, "")
    assert f"hint:  fastoci copy {source} {target}\n" in err
    assert hub.seen == []


def test_what_a_fault_costs_is_said(large, hub, tmp_path, quick):
    _, layer, _ = large
    hub.on("GET", layer, cut, times=2)
    events = []
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST, sink=events.append)
    offsets = [event.resumed_at for event in events if isinstance(event, Retry)]
    assert offsets == [None, CUT_AT, None, 2 * CUT_AT]
    [summary] = [event for event in events if isinstance(event, PullSummary)]
    assert summary.resumed == 2


def test_not_a_byte_that_came_is_fetched_again(large, hub, tmp_path, quick):
    """Neither in this run nor in the next."""
    _, layer, data = large
    hub.on("GET", layer, cut)
    hub.on("GET", layer, answer(404))
    with pytest.raises(RegistryError):
        pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST)
    left = tmp_path / "out/.fastoci-partial" / layer.replace(":", "-")
    assert left.read_bytes() == data[:CUT_AT]
    events = []
    pull(f"{hub.host}/me/app:1", f"oci:{tmp_path}/out", FAST, sink=events.append)
    assert [seen.headers.get("range") for seen in hub.requests("GET", layer)][-1] == f"bytes={CUT_AT}-"
    [summary] = [event for event in events if isinstance(event, PullSummary)]
    assert summary.resumed == 1
    assert SIZE - CUT_AT <= summary.fetched < SIZE
