"""What the registry room's tests share besides fixtures: time that is made up, sources, descriptors, servers' TLS."""

from __future__ import annotations

import hashlib
import os
import random
import ssl
import threading
from typing import TYPE_CHECKING

from fastoci.registry.tls import TlsSocket
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._due: list[tuple[int, Callable[[], object]]] = []

    def after(self, waits: int, do: Callable[[], object]) -> None:
        """Do something once there were so many waits (of no time, too)."""
        self._due.append((len(self.slept) + waits, do))

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        for due in [due for due in self._due if due[0] <= len(self.slept)]:
            self._due.remove(due)
            due[1]()


class Bytes:
    """A blob's source in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.reads: list[tuple[int, int]] = []

    def read_at(self, offset: int, size: int) -> memoryview:
        self.reads.append((offset, size))
        return memoryview(self.data)[offset : offset + size]


BEFORE = 777  # bytes in a file before the blob that it holds


class File(Bytes):
    """A blob that lies in a file, behind other bytes. Whoever makes it closes its descriptor."""

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(data)
        path.write_bytes(bytes(BEFORE) + data)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)

    def file_at(self, offset: int) -> tuple[int, int] | None:
        return self.fd, BEFORE + offset


class Growing:
    """A source in memory of which there is as much as the test says."""

    def __init__(self, data: bytes, made: int | None = None) -> None:
        self.subject = "place:1"
        self.data = data
        self.whole = made is None
        self.there = len(data) if made is None else made
        self.error: Exception | None = None
        self.changed = threading.Condition()

    def grow(self, made: int | None = None) -> None:
        """Have so much made; None all, and known to be."""
        with self.changed:
            self.there = len(self.data) if made is None else max(self.there, made)
            self.whole = self.whole or made is None
            self.changed.notify_all()

    def fail(self, error: Exception) -> None:
        with self.changed:
            self.error = error
            self.changed.notify_all()

    @property
    def descriptor(self) -> Descriptor | None:
        return described(self.data) if self.whole else None

    @property
    def made(self) -> int:
        return self.there

    @property
    def size(self) -> int:
        assert self.whole
        return len(self.data)

    def wait(self, offset: int | None) -> int:
        with self.changed:
            ready = self.changed.wait_for(
                lambda: self.error or self.whole or (offset is not None and self.there >= offset), 30
            )
            assert ready, f"nobody made {offset} bytes"
            if self.error is not None:
                raise self.error
            return self.there

    def read_at(self, offset: int, size: int) -> bytes:
        assert offset < self.there
        return self.data[offset : min(offset + size, self.there)]

    def passed(self, offset: int) -> None:
        pass

    def proof(self, offset: int) -> str:
        assert offset <= self.there, "a proof of what is not there"
        return f"{offset}:{hashlib.sha256(self.data[:offset]).hexdigest()}"

    def fits(self, proof: str) -> bool:
        size = int(proof.partition(":")[0])
        return self.wait(size) >= size and self.proof(size) == proof


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def described(data: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", Digest("sha256", hashlib.sha256(data).hexdigest()), len(data))


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = TlsSocket
    certificate.configure_cert(context)
    return context
