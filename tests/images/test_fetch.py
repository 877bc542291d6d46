"""Fetching a blob into a layout: what came before it broke is kept, and wrong bytes get no name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastoci.errors import BlobMismatchError
from fastoci.images.fetch import fetch_blob
from fastoci.images.source import open_image
from fastoci.registry.options import RegistryOptions
from fastoci.spec.descriptor import Descriptor
from fastoci.store.layout import Layout
from imagekit import noise


class Stopped:
    def is_set(self):
        return False


def fetched(registry, layout_path, descriptor, events):
    with open_image(f"{registry.host}/base:1", RegistryOptions(retry=1), events.append) as source:
        return fetch_blob(
            source, descriptor, Layout.create(str(layout_path)), title="x", sink=events.append, stop=Stopped()
        )


@pytest.fixture
def blob(hub):
    data = noise(3 << 20)
    hub.put_blob("base", data)
    return data, Descriptor.of("application/octet-stream", data)


def partial(tmp_path, descriptor) -> Path:
    return tmp_path / "out/.fastoci-partial" / str(descriptor.digest).replace(":", "-")


def test_what_was_fetched_before_it_broke_is_not_fetched_again(hub, blob, tmp_path):
    data, descriptor = blob

    def cut(handler):
        reply = handler.dispatch()
        reply.headers["Content-Length"] = str(len(data))
        reply.body = reply.body[: 2 << 20]
        handler.close_connection = True
        return reply

    hub.on("GET", "/blobs/", cut)
    with pytest.raises(Exception, match="cannot read"):
        fetched(hub, tmp_path / "out", descriptor, [])
    left = partial(tmp_path, descriptor).stat().st_size
    assert left >= 1 << 20
    assert not (tmp_path / "out/blobs/sha256" / descriptor.digest.hex).exists()
    hub.seen.clear()
    result = fetched(hub, tmp_path / "out", descriptor, [])
    assert (result.kept, result.fetched) == (left, len(data) - left)
    (request,) = hub.requests("GET", "/blobs/")
    assert request.headers["range"] == f"bytes={left}-"
    assert (tmp_path / "out/blobs/sha256" / descriptor.digest.hex).read_bytes() == data
    assert not (tmp_path / "out/.fastoci-partial").exists()


@pytest.mark.parametrize("left", [b"", b"\0" * 1000, noise(3 << 20)[:1000] + b"\1", noise(3 << 20, 2)])
def test_what_is_left_may_be_anything(left, hub, blob, tmp_path):
    data, descriptor = blob
    Layout.create(str(tmp_path / "out"))
    file = partial(tmp_path, descriptor)
    file.parent.mkdir()
    file.write_bytes(left)
    fetched(hub, tmp_path / "out", descriptor, [])
    assert (tmp_path / "out/blobs/sha256" / descriptor.digest.hex).read_bytes() == data


def test_wrong_bytes_get_no_name_and_are_not_kept(hub, blob, tmp_path):
    data, descriptor = blob
    hub.blobs["base"][str(descriptor.digest)] = data[:-1] + b"\0"
    with pytest.raises(BlobMismatchError, match="its bytes have the digest"):
        fetched(hub, tmp_path / "out", descriptor, [])
    assert not list((tmp_path / "out").rglob("*" + descriptor.digest.hex))


def test_two_at_once_both_succeed(hub, blob, tmp_path):
    data, descriptor = blob
    layout = Layout.create(str(tmp_path / "out"))
    with layout.partial_writer(descriptor) as first:
        first.write(data[:1000])
        assert layout.partial_writer(descriptor) is None
        fetched(hub, tmp_path / "out", descriptor, [])
        first.write(data[1000:])
        first.commit(descriptor.digest)
    assert (tmp_path / "out/blobs/sha256" / descriptor.digest.hex).read_bytes() == data
    assert not (tmp_path / "out/.fastoci-partial").exists()
