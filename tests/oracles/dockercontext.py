"""What the `docker` on PATH sends as build context: its own client, and a daemon that only listens.

The client picks and packs the files before a daemon sees any (the classic builder), so that none is needed, nor root.
"""

from __future__ import annotations

import http.server
import io
import os
import socketserver
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

from oracles.ignorecases import left_out

_ANSWER = b'{"stream":"sha256:0000\\n"}\n'


class _Daemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    contexts: list[bytes]

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that refuses its ignore file goes without waiting for an answer."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Daemon

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(b"OK" if "_ping" in self.path else b"{}")

    def do_POST(self) -> None:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.server.contexts.append(data)
        self._answer(_ANSWER)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class DockerContext:
    """Asks a docker client, over and over.

    Args:
        client: Its path.
        root: The directory that is the context; its `.dockerignore` is written here.
    """

    def __init__(self, client: str, root: Path) -> None:
        self._client = client
        self._root = root
        # A socket's path may have 107 bytes.
        self._state = tempfile.TemporaryDirectory(prefix="fastoci-context-")
        self._dockerfile = Path(self._state.name) / "Dockerfile"
        self._dockerfile.write_text("FROM scratch\nCOPY . /\n")
        self._daemon = _Daemon(f"{self._state.name}/socket", _Handler)
        self._thread = threading.Thread(target=self._daemon.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_no_use: object) -> None:
        self._daemon.shutdown()
        self._daemon.server_close()
        self._thread.join()
        self._state.cleanup()

    def left_out(self, ignore: str) -> list[str] | None:
        """Return what is not sent with an ignore file, as `ignorecases.left_out` has it; None: it is refused."""
        (self._root / ".dockerignore").write_bytes(ignore.encode())
        self._daemon.contexts = []
        done = subprocess.run(
            [self._client, "build", "-q", "-f", self._dockerfile, self._root],
            env={
                "PATH": os.environ["PATH"],
                "HOME": self._state.name,
                "DOCKER_HOST": f"unix://{self._state.name}/socket",
                "DOCKER_BUILDKIT": "0",
            },
            capture_output=True,
            check=False,
        )
        if done.returncode:
            assert b"pattern" in done.stderr or b"exclude" in done.stderr, done.stderr
            return None
        (context,) = self._daemon.contexts
        # Whoever adds the Dockerfile at the end does not pad it.
        with tarfile.open(fileobj=io.BytesIO(context + bytes(10240))) as archive:
            names = {name for name in archive.getnames() if not name.startswith((".dockerfile.", ".dockerignore"))}
        return left_out(names)
