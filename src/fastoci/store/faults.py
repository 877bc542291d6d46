"""The kernel's refusals in the user's words: what an OSError from a store means, and what to do about it."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastoci.errors import ImageNotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["explain", "explained"]

_HINTS = {
    errno.ENOENT: "check the path: it, or a directory on the way to it, is not there",
    errno.ENOSPC: "make room on that file system, or write elsewhere",
    errno.EDQUOT: "the quota is used up: make room, or write elsewhere",
    errno.EFBIG: "the file system, or `ulimit -f`, allows no file of that size: write elsewhere, or raise it",
    errno.EROFS: "the file system is mounted read-only: write elsewhere",
    errno.EACCES: "its owner or mode does not let you: look at it with ls -ld",
    errno.EPERM: "its owner or mode does not let you: look at it with ls -ld",
    errno.EEXIST: "a file of that name stands there: name another",
    errno.ENOTDIR: "a part of this path is a file: name another",
    errno.EISDIR: "it is a directory: name a file, or oci:DIR for a layout",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.EMFILE: "raise the number of open files, as with ulimit -n 4096",
    errno.EIO: "the disk failed: see dmesg",
    errno.EPIPE: "whoever reads the output has gone",
}


def explain(error: OSError, what: str, path: str) -> StoreError:
    """Return the error that says what the kernel refused, why, and what to do.

    Args:
        error: From the kernel.
        what: What could not be done, as `cannot write ./x.oci`.
        path: The file or directory concerned.
    """
    kind = ImageNotFoundError if error.errno == errno.ENOENT else StoreError
    hint = _HINTS.get(error.errno) if error.errno is not None else None
    return kind.from_os(error, what, path=path, hint=hint)


@contextmanager
def explained(what: str, path: str) -> Iterator[None]:
    """Turn an OSError from within into what `explain` makes of it; errors of ours pass as they are."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise explain(error, what, path) from error
