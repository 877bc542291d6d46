"""What the registry room's tests share besides fixtures: time that is made up, sources, descriptors, servers' TLS."""

from __future__ import annotations

import hashlib
import random
import ssl
from typing import TYPE_CHECKING

from fastoci.registry.tls import TlsSocket
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

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


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def described(data: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", Digest("sha256", hashlib.sha256(data).hexdigest()), len(data))


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = TlsSocket
    certificate.configure_cert(context)
    return context
