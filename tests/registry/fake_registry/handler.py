"""One connection to the registry: HTTP as it is spoken here, and the ways to fail at it."""

from __future__ import annotations

import contextlib
import socket
import struct
from http.server import BaseHTTPRequestHandler
from typing import Any

from fake_registry.api import Api
from fake_registry.registry import FakeRegistry, GoneError, Reply, Seen

__all__ = ["Handler"]


class Handler(Api, BaseHTTPRequestHandler):
    registry: FakeRegistry
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    cut_after: int | None = None
    unread = 0

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class calls it so
        pass

    def do(self) -> None:
        self.unread = int(self.headers.get("Content-Length") or 0)
        self.cut_after = None
        self.seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        stored = self.server is self.registry.storage
        with self.registry.lock:
            (self.registry.storage_seen if stored else self.registry.seen).append(self.seen)
        action = self.registry.rule_for(self.command, self.path)
        try:
            reply = action(self) if action else self.dispatch()
            if reply is not None:
                self.send(reply)
        except GoneError:
            self.reset()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = do  # noqa: N815 - http.server's names

    def reset(self) -> None:
        """Send an RST: with data unread in the receive buffer a shutdown of that side comes first."""
        sock = self.connection
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.shutdown(sock, socket.SHUT_RD)
        self.close_connection = True
        self.rfile.close()
        with contextlib.suppress(OSError):
            self.wfile.close()
        sock.close()

    def setup(self) -> None:
        super().setup()
        self.registry.connections.add(self.connection)

    def finish(self) -> None:
        self.registry.connections.discard(self.connection)
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def send(self, reply: Reply) -> None:
        if self.unread:
            self.close_connection = True
        self.send_head(reply)
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()
        if self.unread:  # let the answer arrive before what is left unread makes the kernel send an RST
            self.connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while self.connection.recv(65536):
                    pass

    def send_head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204 and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def read(self, size: int) -> bytes:
        if self.cut_after is not None:
            size = min(size, self.cut_after)
        data = self.rfile.read(min(size, self.unread))
        self.unread -= len(data)
        with self.registry.lock:
            self.registry.received += len(data)
        if self.cut_after is not None:
            self.cut_after -= len(data)
        return data

    def read_all(self) -> bytes:
        data = b""
        while self.unread:
            piece = self.read(self.unread)
            data += piece
            if not piece or self.cut_after == 0:
                raise GoneError
        self.seen.body = data
        return data
