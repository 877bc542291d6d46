"""A tar archive as a source: its bytes are the layer's tar stream, as they are."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from typing import BinaryIO

from fastoci.ending import ending_context
from fastoci.errors import InvalidImageError, StoreError, TreeError, UsageError, reason
from fastoci.events import Sink
from fastoci.layer.blocks import SourceFacts
from fastoci.layer.fingerprint import fingerprint_of_file, place_of
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import BlobSink, PackedLayer, PlannedLayer
from fastoci.layer.tarblocks import TarBlocks
from fastoci.tar.pieces import FilePieces
from fastoci.tar.reader import TarEntry, TarReader, entry_path
from fastoci.tree.ancestors import Found
from fastoci.tree.source import ARCHIVE_SUFFIXES, STDIN, TreeSource

__all__ = ["pack_tar", "plan_tar"]

_COPY_SIZE = 1024 * 1024
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
}
_NS = 10**9


def pack_tar(
    source: TreeSource, options: LayerOptions, writer: BlobSink, sink: Sink, stdin: BinaryIO | None = None
) -> PackedLayer:
    """Make a layer of a tar archive, byte for byte.

    Args:
        source: The archive; `-` reads it from `stdin`. It has no destination: its names say where things go.
        options: How the layer is made.
        writer: Takes the blob; it is committed here, and left alone if anything fails.
        sink: Told of the progress.
        stdin: Standard input; needed for `-` only.

    Raises:
        UsageError: A destination was given, or the archive is compressed.
        TreeError: The archive cannot be read, is no tar archive or is cut short, or changed while it was packed.
        StoreError: Standard input is a pipe, and there is no room to keep what comes through it.
    """
    with plan_tar(source, options, sink, stdin) as planned:
        return planned.pack(writer)


@ending_context
def plan_tar(
    source: TreeSource, options: LayerOptions, sink: Sink, stdin: BinaryIO | None = None
) -> Iterator[PlannedLayer]:
    """Read the headers of a tar archive, which can be packed until the context ends. See `pack_tar`."""
    if source.dest != "/":
        raise UsageError(
            f"{source.path}:{source.dest} gives a tar archive a destination",
            cause="an archive's own names say where its entries go, and its bytes are kept",
            hint="unpack it and name the directory",
        )
    started, wall = time.perf_counter(), time.time_ns()
    with _opened(source, stdin) as fd:
        scanning = time.thread_time()
        members = _Members(fd, source)
        facts = SourceFacts(
            members.count,
            members.newest_mtime,
            None,
            members,
            time.perf_counter(),
            timings={"scan": time.thread_time() - scanning},
        )
        yield PlannedLayer(
            TarBlocks(fd, source.path, facts),
            source.title,
            options,
            sink,
            started,
            locate=lambda: place_of(source, None, options),
            identify=lambda: fingerprint_of_file(fd, options, wall),
        )


@ending_context
def _opened(source: TreeSource, stdin: BinaryIO | None) -> Iterator[int]:
    """Give a descriptor that can be read at any position; a pipe is kept in a temporary file without a name."""
    if source.path == STDIN:
        if stdin is None:
            raise UsageError("there is no standard input to read a tar archive from")
        with _seekable(stdin) as fd:
            yield fd
        return
    try:
        stream = open(source.path, "rb")  # noqa: SIM115 - closed below, and not by what its errors mean here
    except OSError as error:
        raise TreeError.from_os(error, f"cannot open {source.path}", path=source.path) from error
    with stream, _seekable(stream) as fd:
        yield fd


@ending_context
def _seekable(stream: BinaryIO) -> Iterator[int]:
    """Give a descriptor of what a stream has: its own, or that of a copy if it is a pipe."""
    if _is_whole_file(stream):
        yield stream.fileno()
        return
    try:
        spool = tempfile.TemporaryFile(prefix="fastoci-")  # noqa: SIM115 - closed below, as above
    except OSError as error:
        raise _no_room(error) from error
    with spool:
        _copy(stream, spool)
        yield spool.fileno()


def _is_whole_file(stream: BinaryIO) -> bool:
    try:
        fd = stream.fileno()
    except OSError:  # a stream in memory
        return False
    return stream.seekable() and os.path.isfile(f"/proc/self/fd/{fd}") and stream.tell() == 0


def _copy(stream: BinaryIO, spool: BinaryIO) -> None:
    while data := _read(stream):
        try:
            spool.write(data)
            spool.flush()
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> StoreError:
    return StoreError.from_os(
        error,
        "cannot keep the tar archive that comes through a pipe",
        path=tempfile.gettempdir(),
        hint="set TMPDIR to a place with more room, or name the archive as a file",
    )


def _read(stream: BinaryIO) -> bytes:
    try:
        return stream.read(_COPY_SIZE)
    except OSError as error:
        raise TreeError.from_os(error, "cannot read standard input", path=STDIN) from error


class _Unmetered:
    """Counts nothing: the archive is the caller's own, and nothing is made of it but its bytes."""

    def add_entry(self, layer: str) -> None:
        """Count a header."""

    def add_bytes(self, layer: str, size: int) -> None:
        """Count bytes that are not in the stream."""


class _Members:
    """What an archive says of itself: how many entries, the newest time, and what it has at a path."""

    def __init__(self, fd: int, source: TreeSource) -> None:
        self.count = 0
        self.newest_mtime: int | None = None
        # Directories and links in full, as destinations lead through them; of all else only that it is there.
        self._found: dict[bytes, Found] = {}
        self._others: dict[bytes, str] = {}
        head = os.pread(fd, 8, 0)
        for magic, (name, program) in _COMPRESSED.items():
            if head.startswith(magic):
                raise UsageError(
                    f"{source.path} is compressed with {name}",
                    cause="a layer's diff_id is the digest of the tar stream as it is",
                    hint=f"{program} -c {source.path} | fastoci build -",
                )
        reader = TarReader(FilePieces(fd), source.path, _Unmetered(), "is no whole tar archive")
        try:
            for entry in reader.entries():
                self._add(entry)
            if not reader.is_ended:
                raise reader.fail("it ends without the block of zeros that ends an archive")
        except (InvalidImageError, OSError) as error:
            raise TreeError(
                f"{source.path} is no whole tar archive",
                path=source.path,
                cause=error.cause if isinstance(error, InvalidImageError) else reason(error),
                hint=None if self.count else _other_meaning(source),
            ) from error

    def _add(self, entry: TarEntry) -> None:
        self.count += 1
        mtime = entry.mtime // _NS
        self.newest_mtime = mtime if self.newest_mtime is None else max(self.newest_mtime, mtime)
        path = entry_path(entry.path)
        self._found.pop(path, None)
        self._others.pop(path, None)
        kind = "file" if entry.kind == "hardlink" else entry.kind
        if entry.kind == "hardlink" and (origin := self._found.get(entry_path(entry.target))):
            self._found[path] = origin
        elif kind in ("directory", "symlink"):
            self._found[path] = Found(kind, entry.mode, entry.uid, entry.gid, mtime, entry.xattrs, entry.target)
        else:
            self._others[path] = kind

    def find(self, path: bytes) -> Found | None:
        """Return what stands at `path`; of several entries of one path the last counts."""
        kind = self._others.get(path)
        return self._found.get(path) if kind is None else Found(kind, 0, 0, 0, 0)


def _other_meaning(source: TreeSource) -> str | None:
    """Return what to write where something that is no archive at all may have been meant as a file, None elsewhere."""
    if source.path == STDIN or source.path.endswith(ARCHIVE_SUFFIXES):
        return None
    return f"for the file itself in the image, name its place there: {source.path}:/DEST"
