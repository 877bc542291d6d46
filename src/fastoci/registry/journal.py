"""The journal of an upload: what another process has to know to go on with it after this one was killed.

One document for each blob on its way to one repository, replaced after every acknowledgement, held under a lock while
the upload lives, removed when it ends. It is believed only as far as it goes: the registry is asked how far the session
is, and the digest decides at the end. So the file or the tree that the bytes come from need not be the one of before,
only its content.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastoci.registry.session import LARGEST_MINIMUM, Mode
from fastoci.registry.statedir import StateDirectory, StateLock
from fastoci.registry.transport import leads_inside
from fastoci.registry.urls import Url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastoci.registry.session import UploadSession
    from fastoci.registry.urls import Origin

__all__ = ["JOURNALED_FROM", "SESSION_LIFE", "Journal", "Memory", "open_journal"]

# A smaller blob is sent again in less time than it takes to remember it.
JOURNALED_FROM = 256 << 10
# Distribution keeps sessions for a week (168 h), others for hours; who has lost one says so.
SESSION_LIFE = 168 * 3600.0
_LARGEST_OFFSET = 1 << 62


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of an upload.

    Args:
        location: Where its session is; a secret.
        offset: How many bytes the registry had acknowledged.
        chunk: How many bytes went in one PATCH.
        minimum: The fewest bytes that the registry takes in a chunk that is not the last.
        mode: How the bytes travel.
        proof: What a source that was not whole then says of the bytes sent; empty for one that was.
    """

    location: Url
    offset: int
    chunk: int
    minimum: int
    mode: Mode
    proof: str


class Journal:
    """The journal of one upload. Belongs to the upload's thread.

    Args:
        directory: Where it is kept; None keeps nothing.
        name: Of its document.
        lock: On that.
        facts: What the document is about, and must say to be ours.
    """

    def __init__(
        self, directory: StateDirectory | None, name: str, lock: StateLock | None, facts: Mapping[str, Any]
    ) -> None:
        self._directory = directory
        self._name = name
        self._lock = lock
        self._facts = facts

    @property
    def kept(self) -> bool:
        """Whether another run will find what is noted here."""
        return self._directory is not None

    def recall(self, origin: Origin) -> Memory | None:
        """Return what an earlier run has noted; None where there is nothing, or nothing to go by.

        Args:
            origin: The registry's.
        """
        if self._directory is None:
            return None
        document = self._directory.read(self._name)
        if document is None or any(document.get(key) != value for key, value in self._facts.items()):
            return None
        try:
            memory = Memory(
                Url.parse(_text(document, "location")),
                _number(document, "offset", 0, _LARGEST_OFFSET),
                _number(document, "chunk", 1, _LARGEST_OFFSET),
                _number(document, "minimum", 1, LARGEST_MINIMUM),
                Mode(document.get("mode")),
                _text(document, "proof"),
            )
        except ValueError:
            return None
        place = memory.location.origin
        if (origin.scheme == "https" and place.scheme != "https") or leads_inside(place, origin):
            return None  # no registry's word that we would have taken
        size = self._facts["size"]
        return None if size is not None and memory.offset > size else memory

    def note(self, session: UploadSession, proof: str = "") -> None:
        """Note how far an upload is.

        Args:
            session: Its session.
            proof: See `Memory`.
        """
        if self._directory is None or session.location is None:
            return
        document = {
            **self._facts,
            "location": session.location.full(),
            "offset": session.offset,
            "chunk": session.chunk,
            "minimum": session.minimum,
            "mode": session.mode.value,
            "proof": proof,
        }
        if not self._directory.write(self._name, document):
            # An old note would be worse than none.
            self.forget()
            self.close()
            self._directory = None

    def forget(self) -> None:
        """Remove what was noted: the upload has come to its end, or its session has."""
        if self._directory is not None:
            self._directory.remove(self._name)

    def close(self) -> None:
        """Let another process go on with it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def open_journal(directory: StateDirectory, origin: Origin, repository: str, subject: str, size: int | None) -> Journal:
    """Return the journal of an upload; one that keeps nothing where another process is at the same upload.

    Args:
        directory: Where journals are.
        origin: The registry's.
        repository: The path there.
        subject: What is sent: a digest, or what stands for one that is not known yet.
        size: Of the blob, in bytes; None as long as it is not known.
    """
    facts = {"origin": str(origin), "repository": repository, "subject": subject, "size": size}
    if size is not None and size < JOURNALED_FROM:
        return Journal(None, "", None, facts)
    name = hashlib.sha256("\n".join((str(origin), repository, subject)).encode()).hexdigest()
    lock = directory.lock(name)
    return Journal(directory if lock is not None else None, name, lock, facts)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise ValueError(key)  # noqa: TRY004 - all that is wrong with a document is the same
    return value


def _number(document: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = document.get(key)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(key)
    return value
