"""What a command says: the result on stdout and only it, all else on stderr, nothing that a terminal would obey."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal, Self, TextIO

from fastoci.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from fastoci.cli.progress import Progress
    from fastoci.events import Event

__all__ = [
    "Console",
    "ProgressMode",
    "print_error",
    "print_warning",
    "printable",
    "unwritable",
    "write_document",
    "write_stderr",
    "write_stdout",
]

ProgressMode = Literal["auto", "tty", "plain", "json", "none"]


class Console:
    """The two streams of one command, and the progress between its start and its end.

    Use it as a context manager around the work: progress is drawn only inside.

    Args:
        json: Whether the result is one JSON document instead of lines.
        progress: How progress is shown; `auto` is a live picture on a terminal, plain lines elsewhere.
        quiet: Whether warnings and progress are left out; errors never are.
        verbose: Whether details (`Notice`) are shown too.
    """

    def __init__(
        self, *, json: bool = False, progress: ProgressMode = "auto", quiet: bool = False, verbose: bool = False
    ) -> None:
        from fastoci.cli.progress import open_progress

        self._json = json
        self._progress: Progress = open_progress("silent" if quiet else progress, verbose=verbose)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def sink(self, event: Event) -> None:
        """Take one event of the work; may be called from any thread."""
        self._progress.event(event)

    def headline(self, text: str) -> None:
        """Say once, before the work, with what settings it is done (plain and JSON progress only).

        Args:
            text: As in `linux/amd64 gzip:1 threads=4`; the program's name and version are put before it.
        """
        from fastoci.version import __version__

        self._progress.headline(f"fastoci {__version__} {text}")

    def result(self, lines: Iterable[str], document: Mapping[str, object] | Sequence[object] | None = None) -> None:
        """Write the result: the lines, or with `--json` the document.

        Args:
            lines: One for each thing that was made; paths as the file system has them (surrogateescape).
            document: The same as JSON values; None where the lines themselves are the document's list.
        """
        if not self._json:
            write_stdout(lines)
            return
        import json

        value = list(lines) if document is None else document
        write_stdout([json.dumps(value, ensure_ascii=True, indent=2)])


def printable(text: str) -> str:
    r"""Return `text` with every character escaped (`\x1b`, `\u202e`) that a terminal would obey instead of showing.

    Names of files and the words of servers are other people's. Bytes that are not UTF-8 (surrogateescape) come out as
    the bytes they are.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def print_error(what: str, *, cause: str | None = None, hint: str | None = None) -> None:
    """Write an error in its three lines to stderr: what failed, why, what to do next."""
    write_stderr(f"error: {printable(what)}")
    if cause is not None:
        write_stderr(f"cause: {printable(cause)}")
    if hint is not None:
        write_stderr(f"hint:  {printable(hint)}")


def print_warning(message: str, hint: str | None = None) -> None:
    """Write a warning and what can be done about it in one line to stderr."""
    write_stderr(f"warning: {printable(message)}" + (f"; {printable(hint)}" if hint else ""))


def write_stderr(line: str) -> None:
    """Write one line to stderr. That nobody reads it is no reason to stop the work."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def write_stdout(lines: Iterable[str]) -> None:
    """Write lines to stdout: exact bytes into a pipe or file, escaped on a terminal.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        StoreError: It cannot be written.
    """
    if _stdout().isatty():
        text = "".join(f"{shown}\n" for line in lines for shown in map(printable, line.split("\n")))
        data = text.encode(sys.stdout.encoding, "backslashreplace")
    else:
        data = b"".join(os.fsencode(line) + b"\n" for line in lines)
    _put(data)


def write_document(data: bytes) -> None:
    """Write a document to stdout: byte for byte, so that it has its digest, unless that is a terminal."""
    if _stdout().isatty():
        write_stdout([data.decode(errors="surrogateescape")])
    else:
        _put(data)


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise StoreError("cannot write to stdout", path="stdout", cause="it is closed")
    return sys.stdout


def _put(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> StoreError:
    """Return the error to raise where stdout does not take what is written to it."""
    # What is still buffered would fail again when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return StoreError.from_os(error, "cannot write to stdout", path="stdout")
