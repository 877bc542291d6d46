"""urllib3's connections, taught what an upload needs.

Threads: a connection belongs to one request at a time; a `Watch` may cut it off from any other.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import wait_for_read

from fastoci.registry.chunks import FilePart
from fastoci.registry.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3.response import HTTPResponse

__all__ = ["SOCKET_OPTIONS", "TARGET", "Guard", "Pool", "SecurePool", "Watch"]

# Told the host that a connection was made to and the address it is at; raises an OSError where it may not be used.
Guard = Callable[[str, str], None]

# A pseudo header, as HTTP/2 has it, that carries the request target past urllib3's pools. These rewrite targets
# (`%3d` becomes `%3D`, `..` is collapsed) where a Location is to come back byte for byte, and write them into their
# log, where a session or a signature does not belong. No real header can begin with a colon.
TARGET = ":path"

# What waits in the kernel to be sent: little, so that progress is what went out and a cut connection takes little with
# it; but as much as the line takes in AHEAD seconds, or a fast one is fed by the spoonful.
AHEAD = 0.02
LEAST_AHEAD, MOST_AHEAD = 256 << 10, 2 << 20
_MEASURED = 4 << 20  # bytes after each of which it is looked how fast the line is

# Beside urllib3's own (no Nagle): a dead peer is noticed while a commit is waited for.
SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, LEAST_AHEAD),
]
SEND_TIMEOUT = 60.0  # seconds for the kernel to take one piece of a body
HEADER_SECONDS = 60.0  # for all headers of an answer, from its first byte on
IDLE_LIMIT = 30.0  # seconds after which a connection is not used again: balancers drop theirs after 60 without a word

_SENT_AT_ONCE = 1 << 20  # bytes: whoever cancels, or answers early, is heard after so many
# What says that a file cannot be sent by sendfile(2), or not be read. Reading it will do, or say better what is wrong.
_UNREADABLE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW, errno.EIO})


class Watch:
    """Every connection of a transport, so that another thread can cut them all off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        self._over = False

    def enter(self, connection: HTTPConnection) -> None:
        """Note a connection that has just been made.

        Raises:
            ConnectionAbortedError: All have been cut off meanwhile.
        """
        with self._lock:
            self._connections.add(connection)
            over = self._over
        if over:
            connection.close()
            raise ConnectionAbortedError

    def cut(self) -> None:
        """Cut all connections off, now and from now on: who reads or writes one gets an error at once."""
        with self._lock:
            self._over = True
            for connection in list(self._connections):
                _cut(connection)


def _cut(connection: HTTPConnection) -> None:
    sock: Any = connection.sock
    sock = getattr(sock, "socket", sock)  # TLS within a proxy's TLS is a wrapper round the socket
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            # Not SSLSocket's own shutdown: it forgets its TLS state first, and a thread that writes at that moment
            # would write in the clear.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Lines:
    """A stream of header lines that remembers whether they came to their end, and does not wait for drops.

    The socket's timeout is for silence alone: a server that sends a byte a minute would never end.
    """

    def __init__(self, file: Any) -> None:  # noqa: ANN401 - what http.client has for a socket's stream
        self.file = file
        self.last = b""
        self._deadline: float | None = None

    def readline(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        while limit > 0:
            ready = self.file.peek(1)  # waits for one packet at most, where a whole line may never come
            now = time.monotonic()
            if self._deadline is None:
                self._deadline = now + HEADER_SECONDS
            elif now > self._deadline:
                raise TimeoutError
            if not ready:
                break
            end = ready.find(b"\n", 0, limit) + 1
            piece = self.file.read(end or min(len(ready), limit))
            pieces.append(piece)
            limit -= len(piece)
            if end:
                break
        self.last = b"".join(pieces)
        return self.last

    def close(self) -> None:
        self.file.close()


class _Answer(http.client.HTTPResponse):
    """An answer whose headers are whole. http.client itself takes those of a broken connection for all there are."""

    def begin(self) -> None:
        lines = _Lines(self.fp)
        self.fp = lines  # type: ignore[assignment]  # for as long as only lines are read
        try:
            super().begin()
        finally:
            if self.fp is lines:  # type: ignore[comparison-overlap]  # see above
                self.fp = lines.file
        if lines.last == b"":
            raise http.client.IncompleteRead(b"")


class _Upload(HTTPConnection):
    """What both kinds of connection have in common; always mixed into one of urllib3's classes."""

    response_class = _Answer
    _in_body = False
    _unfinished = False
    _answers = 0
    _last_used = 0.0
    # Of the body: bytes since it was looked how fast the line is, when that was, and what may wait in the kernel.
    _gone = 0
    _looked = 0.0
    _ahead = LEAST_AHEAD
    _near = False  # whether the peer, which may be a proxy, is on this machine
    _room = memoryview(b"")  # for what is copied to it

    # urllib3 passes more arguments from version to version; here and below they go through as they come.
    def __init__(self, *arguments: Any, watch: Watch, guard: Guard, **options: Any) -> None:  # noqa: ANN401 - see above
        super().__init__(*arguments, **options)
        self._watch = watch
        self._guard = guard

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        try:
            # Before a byte is sent, the handshake of TLS included. A proxy is not a place that a server names.
            peer = sock.getpeername()[0]
            self._near = is_loopback(peer)
            if self.proxy is None:
                self._guard(self.host, peer)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        self._unfinished = False
        self._answers = 0
        self._ahead = LEAST_AHEAD
        super().connect()
        self._watch.enter(self)

    @property
    def is_connected(self) -> bool:
        """Whether the pool may use this connection for one more request."""
        if self._unfinished or time.monotonic() - self._last_used > IDLE_LIMIT:
            return False
        return super().is_connected

    # urllib3's own signature differs from http.client's too, and mypy is told so there as well.
    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,  # noqa: ANN401 - passed through
        headers: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - passed through
    ) -> None:
        headers = dict(headers or {})
        target = headers.pop(TARGET, url)
        self._in_body = False
        if self.sock is None:
            self.connect()
        # The pool has set the time to connect, which governs sending as well if nobody sets another.
        self.timeout = SEND_TIMEOUT
        super().request(method, target, body, headers, **options)

    def endheaders(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed through
        super().endheaders(*arguments, **options)
        self._in_body = True
        self._gone, self._looked = 0, time.monotonic()

    def send(self, data: Any) -> None:  # noqa: ANN401 - passed through
        if self._in_body and self._answered_early():
            # A 401 or 413 in mid-body. Who goes on sending gets a reset that also discards the answer. urllib3 takes a
            # broken pipe for what it is and reads the answer.
            self._unfinished = True
            raise BrokenPipeError
        try:
            if isinstance(data, FilePart):
                self._send_part(data)
            else:
                super().send(data)
                self._went_out(len(data))
        except OSError:
            self._unfinished = True
            raise

    def _went_out(self, size: int) -> None:
        """Have as much wait in the kernel as the line takes in a moment, by how fast it took the last megabytes."""
        self._gone += size
        if self._gone < _MEASURED or not isinstance(self.sock, socket.socket):
            return
        now = time.monotonic()
        ahead = int(AHEAD * self._gone / max(now - self._looked, 1e-6))
        ahead = max(LEAST_AHEAD, min(ahead, MOST_AHEAD))
        if not self._ahead / 2 < ahead < self._ahead * 2:
            self._ahead = ahead
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, ahead)
        self._gone, self._looked = 0, now

    def _send_part(self, part: FilePart) -> None:
        done = 0
        if type(self.sock) is socket.socket:
            send = self._copied(self.sock, part) if self._near else _by_kernel(self.sock, part)
            done = self._send_file(self.sock, part, send)
            self._went_out(done)
        for data in part.read(done) if done < part.size else ():
            self.send(data)

    def _send_file(self, sock: socket.socket, part: FilePart, send: Callable[[int], int]) -> int:
        """Send a part of a file as the socket takes it; return how many bytes, fewer where they cannot all be read.

        Args:
            sock: In the clear.
            part: What to send.
            send: Sends some bytes from an offset on, and returns how many it did; none where there are none.
        """
        poller = select.poll()
        poller.register(sock, select.POLLIN | select.POLLOUT)
        timeout = None if self.timeout is None else self.timeout * 1000
        done = 0
        while done < part.size:
            ready = poller.poll(timeout)
            if not ready:
                raise TimeoutError
            if ready[0][1] & ~select.POLLOUT:
                raise BrokenPipeError  # see `send`
            try:
                count = send(done)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in _UNREADABLE:
                    raise
                break
            if not count:
                break
            part.told(done, count)
            done += count
        return done

    def _copied(self, sock: socket.socket, part: FilePart) -> Callable[[int], int]:
        """Return what reads a part of a file and sends it, for a peer on this machine.

        What sendfile(2) sends, such a peer has to fetch from memory that no cache holds; what was copied for it a
        moment ago, from the cache. That is worth more to it than it costs here: one blob arrives a tenth sooner.
        """
        size = min(_SENT_AT_ONCE, part.size)
        if len(self._room) < size:
            self._room = memoryview(bytearray(size))
        room = self._room
        start = end = 0  # of the part, what is in the room

        def send(done: int) -> int:
            nonlocal start, end
            if done == end:
                start, end = done, done + os.preadv(part.fd, [room[: part.size - done]], part.offset + done)
            return sock.send(room[done - start : end - start])

        return send

    def _answered_early(self) -> bool:
        if self.sock is None:
            return False
        # TLS 1.3 servers send session tickets of their own accord after the handshake. Only once an answer was read on
        # this connection, and the tickets with it, does something to read mean an answer.
        if type(self.sock) is not socket.socket and self._answers == 0:
            return False
        return wait_for_read(self.sock, timeout=0.0)

    # The same: urllib3's response is not http.client's.
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        self._in_body = False
        response = super().getresponse()
        self._answers += 1
        self._last_used = time.monotonic()
        return response


def _by_kernel(sock: socket.socket, part: FilePart) -> Callable[[int], int]:
    """Return what has the kernel send a part of a file, without its being read (sendfile(2))."""

    def send(done: int) -> int:
        return os.sendfile(sock.fileno(), part.fd, part.offset + done, min(_SENT_AT_ONCE, part.size - done))

    return send


class _Connection(_Upload, HTTPConnection):
    pass


class _SecureConnection(_Upload, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if self.ssl_context is not None and self.ssl_context.verify_mode == ssl.CERT_NONE:
            # The user asked for no verification, and urllib3's warning at each request would tell them nothing new.
            self.is_verified = True


class Pool(HTTPConnectionPool):
    """Connections to one origin in the clear, or to a proxy."""

    ConnectionCls = _Connection


class SecurePool(HTTPSConnectionPool):
    """Connections to one origin by TLS."""

    ConnectionCls = _SecureConnection
