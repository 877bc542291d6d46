"""A TCP line to a real server that can be slow, and that breaks when it is told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Self

PIECE = 64 << 10


class Line:
    """Everything that comes to `host` goes to a server, and back.

    Attributes:
        breaks: The bytes, on each connection that carries more than `SMALL`, after which it is reset both ways, in the
            order of the connections; when they are used up it holds.
        rate: Bytes a second to the server, over all connections; None is as many as there are.
        drain: Seconds before a reset in which the server may read what it was sent: what it has not is lost.
        hold_from: When so many bytes were sent, the next PATCH is kept back, and `held` is set; None keeps none.
        sent: Bytes that were handed to the server.
        resets: How many connections were reset.
    """

    SMALL = 32 << 10  # a connection that carries no more than questions is not counted

    def __init__(
        self, server: str, *, breaks: list[int] | None = None, rate: float | None = None, drain: float = 0.0
    ) -> None:
        host, _, port = server.rpartition(":")
        self._server = host, int(port)
        self.breaks = list(breaks or [])
        self.rate = rate
        self.drain = drain
        self.hold_from: int | None = None
        self.held = threading.Event()
        self._closed = threading.Event()
        self.sent = 0
        self.resets = 0
        self._lock = threading.Lock()
        self._budget = 0.0
        self._refilled = time.monotonic()
        self._open: set[socket.socket] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                _reset(client)
                continue
            # What the kernel swallows, the client takes for sent; a line has a short memory.
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            for run in (self._up, self._down):
                threading.Thread(target=run, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        carried, limit = 0, None
        for piece in _pieces(client):
            # A request begins with a piece of its own: the answer to the one before is waited for.
            if self.hold_from is not None and self.sent >= self.hold_from and piece.startswith(b"PATCH "):
                self.held.set()
                self._closed.wait()
                break
            self._take(len(piece))
            if limit is None and carried + len(piece) > self.SMALL:
                with self._lock:
                    limit = self.breaks.pop(0) if self.breaks else 1 << 62
            last = limit is not None and carried + len(piece) > limit
            if last and limit is not None:
                piece = piece[: max(0, limit - carried)]
            try:
                server.sendall(piece)
            except OSError:
                break
            carried += len(piece)
            with self._lock:
                self.sent += len(piece)
            if last:
                with self._lock:
                    self.resets += 1
                time.sleep(self.drain)
                _reset(client)
                _reset(server)
                return
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for piece in _pieces(server):
                client.sendall(piece)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        for sock in (client, server):
            self._open.discard(sock)
            with contextlib.suppress(OSError):
                sock.close()

    def _take(self, size: int) -> None:
        """Wait until the line has carried what it carries in the time."""
        if self.rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._budget = min(self._budget + (now - self._refilled) * self.rate, self.rate / 20)
            self._refilled = now
            self._budget -= size
            wait = -self._budget / self.rate
        if wait > 0:
            time.sleep(wait)


def _pieces(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            piece = sock.recv(PIECE)
        except OSError:
            return
        if not piece:
            return
        yield piece


def _reset(sock: socket.socket) -> None:
    """Send an RST: without lingering, and with the reading side shut down first, or what is unread keeps it back."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        sock.close()
