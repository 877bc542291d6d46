"""Every error that fastoci raises on purpose, each class with the exit code it ends the command with.

An error says what failed (`what`), why (`cause`) and what to do next (`hint`), and carries its facts as attributes.
No message or attribute ever holds a credential.

    FastociError                    1   failed
    ├── UsageError                  2   wrong usage (also a ValueError)
    ├── InvalidImageError           3   the image breaks a rule that `validate` checks
    ├── TreeError                   1   something in a tree to be packed, named by `path`
    │   ├── TreeChangedError        1   it changed or vanished while it was packed
    │   └── TreeNameError           1   a name that a layer cannot hold (`.wh.*`, `=` in an xattr's name)
    ├── StoreError                  1   an image on disk, or the disk itself
    │   └── ImageNotFoundError      1   no such image, tag, blob or layout
    ├── EngineError                 1   docker, podman or containerd did not take the image
    └── RegistryError               4   registry or network, after all retries: run it again and it goes on
        ├── RegistryResponseError   4   the registry answered, with a status that ends it
        ├── BlobMismatchError       1   bytes that do not have the digest or size they should have
        ├── ManifestNotFoundError   1   the repository or tag is not there
        └── AccessDeniedError       5   not allowed in (also a PermissionError)
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

__all__ = [
    "AccessDeniedError",
    "BlobMismatchError",
    "EngineError",
    "FastociError",
    "ImageNotFoundError",
    "InvalidImageError",
    "ManifestNotFoundError",
    "RegistryError",
    "RegistryResponseError",
    "StoreError",
    "TreeChangedError",
    "TreeError",
    "TreeNameError",
    "UsageError",
    "reason",
]


def reason(error: BaseException | int) -> str:
    """Return why something was refused, in the words of whoever refused it and in the form of a cause.

    Args:
        error: From the kernel: an OSError, or its number. Of any other exception the text is told.

    Returns:
        One line, lower case at its start, no full stop.
    """
    if isinstance(error, int):
        words = os.strerror(error)
    else:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    words = words.rstrip(".")
    # `RFS specific error` keeps its capitals, as does what begins with the name of a class.
    return words[:1].lower() + words[1:] if words[1:2].islower() and " " in words else words


class FastociError(Exception):
    """The root of the tree: what failed, why, and what to do next.

    Args:
        what: What failed, with the path, reference or URL it failed on; one line, lower case, no full stop.
        cause: Why, in the words of whoever said no (the kernel, the registry); None where `what` says it all.
        hint: What to do next; None where there is nothing to be done.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, cause: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        return self.what if self.cause is None else f"{self.what}: {self.cause}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own __reduce__ calls the class with `args` alone, and the facts passed by keyword would be lost.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[FastociError], args: tuple[Any, ...], state: dict[str, Any]) -> FastociError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(FastociError, ValueError):
    """The caller asked for something that cannot be meant."""

    exit_code = 2


class InvalidImageError(FastociError, ValueError):
    """An image, or a document in it, breaks the specification or does not match its digest.

    Args:
        what: See FastociError.
        cause: See FastociError.
        hint: See FastociError.
        digest: The digest of the document or blob concerned, as text; None where it has none.
    """

    exit_code = 3

    def __init__(
        self, what: str, *, cause: str | None = None, hint: str | None = None, digest: str | None = None
    ) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.digest = digest


class _PathError(FastociError, OSError):
    """An error about a file or directory.

    Args:
        what: See FastociError.
        path: The path concerned, as the file system has it (surrogateescape where it is not UTF-8).
        cause: See FastociError.
        hint: See FastociError.
        errno: The kernel's error number; None where the kernel said nothing.
    """

    def __init__(
        self,
        what: str,
        *,
        path: str,
        cause: str | None = None,
        hint: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.path = path
        self.errno = errno

    @classmethod
    def from_os(cls, error: OSError, what: str, *, path: str, hint: str | None = None) -> Self:
        """Return the error that says what the kernel refused, and in its words why.

        Args:
            error: From the kernel.
            what: See FastociError.
            path: The path concerned.
            hint: See FastociError.
        """
        return cls(what, path=path, cause=reason(error), hint=hint, errno=error.errno)


class TreeError(_PathError):
    """Something in a tree cannot be packed; `path` names it."""


class TreeChangedError(TreeError):
    """A file or directory changed or vanished between the scan and the end of its reading."""


class TreeNameError(TreeError):
    """A name that has another meaning in a layer, or that a tar archive cannot say."""


class StoreError(_PathError):
    """An image on disk cannot be read or written; `path` is the file or directory concerned."""


class ImageNotFoundError(StoreError):
    """There is no layout, archive, tag or blob of that name."""


class EngineError(FastociError):
    """A container engine could not be found, or did not take the image."""


class RegistryError(FastociError, OSError):
    """A registry could not be reached, or did not do what was asked, after all retries.

    Args:
        what: See FastociError.
        cause: See FastociError; for an answered request the method, the redacted URL, the status and the server's
            own diagnostics.
        hint: See FastociError.
        method: The HTTP method, None where no request was made.
        url: The URL without query or user information.
        status: The HTTP status, None where there was no answer.
    """

    exit_code = 4

    def __init__(
        self,
        what: str,
        *,
        cause: str | None = None,
        hint: str | None = None,
        method: str | None = None,
        url: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.method = method
        self.url = url
        self.status = status


class RegistryResponseError(RegistryError):
    """The registry answered with a status that ends the work.

    Trying again is of no use to the tool, but may be to its user.
    """


class BlobMismatchError(RegistryError):
    """Bytes do not have the digest or the size that their descriptor says."""

    exit_code = 1


class ManifestNotFoundError(RegistryError):
    """The registry has no such repository, tag or manifest."""

    exit_code = 1


class AccessDeniedError(RegistryError, PermissionError):
    """The registry, or its token service, does not let this caller in."""

    exit_code = 5
