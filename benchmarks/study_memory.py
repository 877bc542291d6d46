"""How much memory it takes to move blobs of 10 GiB: pushed, pushed while they are packed, copied between registries.

    python benchmarks/study_memory.py           10 GiB in one blob, and in four
    FASTOCI_BENCH=short python benchmarks/...   1 GiB

The registry is none: it forgets what it is sent and makes up what it is asked for, zeros all of it, so that no disk is
needed. What is wanted is at most 64 MiB and two chunks for each job.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import network
import trees
from network import FASTOCI, MIB
from records import machine

TOTAL = (1 if trees.form() == "short" else 10) << 30
JOBS = 4
CHUNK = 64 * MIB  # the largest that a push takes by itself
PIECE = 4 * MIB
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


@dataclass
class Nothing:
    """A registry that holds nothing: blobs of zeros by their digests, documents, how far each upload is."""

    blobs: dict[str, int] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, int] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    """The least that a client needs of a registry (distribution specification, "Endpoints")."""

    protocol_version = "HTTP/1.1"

    def __init__(self, registry: Nothing, *arguments: object) -> None:
        self.registry = registry
        super().__init__(*arguments)  # type: ignore[arg-type]  # the server's own

    def handle_one_request(self) -> None:
        """Answer a request of any method."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        path = self.path.partition("?")[0]
        size = int(self.headers.get("Content-Length") or 0)
        if "/blobs/uploads/" in path:
            self.upload(path, size)
        elif "/manifests/" in path:
            self.manifest(path, size)
        elif "/blobs/" in path:
            self.blob(path.rpartition("/")[2])
        else:
            self.reply(200)

    def upload(self, path: str, size: int) -> None:
        key = path.rpartition("/")[2]
        if self.command == "POST":
            key = os.urandom(8).hex()
            self.registry.uploads[key] = 0
        self.registry.uploads[key] += self.swallow(size)
        if self.command == "PUT":
            digest = self.path.rpartition("digest=")[2].replace("%3A", ":")
            self.reply(201, {"Docker-Content-Digest": digest})
            return
        end = self.registry.uploads[key] - 1
        self.reply(
            204 if self.command == "DELETE" else 202, {"Location": f"/v2/x/blobs/uploads/{key}", "Range": f"0-{end}"}
        )

    def manifest(self, path: str, size: int) -> None:
        name = path.rpartition("/")[2]
        if self.command == "PUT":
            self.registry.documents[name] = self.rfile.read(size)
            self.reply(201)
        elif name in self.registry.documents:
            data = self.registry.documents[name]
            kind = json.loads(data)["mediaType"]
            self.reply(200, {"Content-Type": kind, "Content-Length": str(len(data))}, data)
        else:
            self.reply(404)

    def blob(self, digest: str) -> None:
        if digest in self.registry.documents:
            data = self.registry.documents[digest]
            self.reply(200, {"Content-Length": str(len(data))}, data)
        elif digest in self.registry.blobs:
            self.reply(200, {"Content-Length": str(self.registry.blobs[digest])})
            left, zeros = self.registry.blobs[digest] if self.command == "GET" else 0, bytes(PIECE)
            while left:
                left -= self.connection.send(zeros[:left])
        else:
            self.reply(404)

    def swallow(self, size: int) -> int:
        left, room = size, bytearray(PIECE)
        while left:
            count = self.rfile.readinto(memoryview(room)[:left])  # type: ignore[attr-defined]  # a BufferedReader
            assert count, "it broke off"
            left -= count
        return size

    def reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        headers = {"Content-Length": "0", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.wfile.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + (body if self.command != "HEAD" else b""))


@contextmanager
def nothing() -> Iterator[tuple[str, Nothing]]:
    """Run such a registry; its host and what it holds."""
    registry = Nothing()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, registry))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def zeros(count: int) -> list[tuple[str, int]]:
    """Return digests and sizes of so many blobs of zeros, together about TOTAL bytes, no two of one size."""
    hasher, size, found = hashlib.sha256(), 0, []
    piece = bytes(MIB)
    for number in range(count):
        wanted = TOTAL // count + number
        while size < wanted:
            hasher.update(piece[: wanted - size])
            size = min(wanted, size + MIB)
        found.append((f"sha256:{hasher.copy().hexdigest()}", size))
    return found


def manifest(blobs: list[tuple[str, int]]) -> tuple[str, bytes]:
    """Return the config's digest and the manifest of an image with these layers."""
    config = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    layers = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}
        for digest, size in blobs
    ]
    kind = "application/vnd.oci.image.manifest.v1+json"
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": len(CONFIG)},
        "layers": layers,
    }
    return config, json.dumps(document).encode()


def layout(directory: str, blobs: list[tuple[str, int]]) -> str:
    """Make a layout of the image, its layers holes."""
    config, data = manifest(blobs)
    os.makedirs(f"{directory}/blobs/sha256")
    for digest, size in blobs:
        with open(f"{directory}/blobs/{digest.replace(':', '/')}", "wb") as file:
            file.truncate(size)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    for name, content in ((config, CONFIG), (digest, data)):
        with open(f"{directory}/blobs/{name.replace(':', '/')}", "wb") as file:
            file.write(content)
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": len(data),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }
    with open(f"{directory}/index.json", "w") as index:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, index)
    with open(f"{directory}/oci-layout", "w") as mark:
        mark.write('{"imageLayoutVersion": "1.0.0"}')
    return directory


def main() -> None:
    directory = tempfile.mkdtemp(prefix="memory-", dir=trees.cache_directory())
    print(f"{'':<44}{'jobs':>6}{'peak MiB':>10}{'at most':>9}{'wall s':>8}{'MiB/s':>8}")
    try:
        for jobs in (1, JOBS):
            blobs = zeros(jobs)
            image = layout(f"{directory}/image-{jobs}", blobs)
            tree = f"{directory}/tree-{jobs}"
            for number, (_, size) in enumerate(blobs):
                os.makedirs(f"{tree}/{number}")
                with open(f"{tree}/{number}/holes", "wb") as file:
                    file.truncate(size)
            with nothing() as (host, _), nothing() as (other, source):
                config, data = manifest(blobs)
                source.blobs |= dict(blobs)
                source.documents |= {config: CONFIG, "1": data}
                sources = [f"{tree}/{number}" for number in range(len(blobs))]
                packed = ["build", *sources, "--compression", "none", "-t", f"{host}/x:1", "--push"]
                for name, command in (
                    ("push", ["push", f"oci:{image}:1", f"{host}/x:1"]),
                    ("push --upload monolithic", ["push", f"oci:{image}:1", f"{host}/x:1", "--upload", "monolithic"]),
                    ("build --push", packed),
                    ("copy, registry to registry", ["copy", f"docker://{other}/x:1", f"docker://{host}/x:1"]),
                ):
                    report(name, command, jobs, directory)
    finally:
        shutil.rmtree(directory)
    print(machine())


def report(name: str, command: list[str], jobs: int, directory: str) -> None:
    """Run one command, and print what it took."""
    shutil.rmtree(f"{directory}/state", ignore_errors=True)
    usage = network.run([FASTOCI, *command, "--jobs", str(jobs), "-q"], directory)
    most = 64 + jobs * 2 * CHUNK / MIB
    peak = usage.memory / MIB
    print(
        f"{name + ('' if jobs == 1 else f', {jobs} blobs'):<44}{jobs:>6}{peak:>10.0f}{most:>9.0f}{usage.wall:>8.1f}"
        f"{TOTAL / MIB / usage.wall:>8.0f}",
        flush=True,
    )
    assert peak <= most, name


if __name__ == "__main__":
    main()
