"""Reads blobs, once each however many documents name them, and compares them with what these say."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from fastoci.checks.layer import LayerFacts, check_layer
from fastoci.counted import CountedReader
from fastoci.events import CheckProgress, Notice, Sink, Throttle
from fastoci.images.tarstream import zstd_reader
from fastoci.spec import mediatypes
from fastoci.spec.descriptor import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fastoci.checks.documents import BlobUse
    from fastoci.checks.findings import Findings, Severity
    from fastoci.images.source import ImageSource

__all__ = ["BlobCheck"]

_INFLATERS = "Python 3.14 does, and the package backports.zstd"


@dataclass(frozen=True, slots=True)
class _Job:
    """One reading of one blob, for everybody who says the same of it."""

    blob: Descriptor
    compression: mediatypes.Compression | None
    diff_algorithm: str

    @classmethod
    def of(cls, use: BlobUse) -> _Job:
        blob = Descriptor(use.descriptor.media_type, use.descriptor.digest, use.descriptor.size)
        compression = mediatypes.compression_of(blob.media_type)
        if use.diff_id is None or (compression == "zstd" and zstd_reader() is None):
            return cls(blob, None, "sha256")
        return cls(blob, compression, use.diff_id.algorithm if use.diff_id.is_supported else "sha256")


class BlobCheck:
    """Checks of blobs, as tasks that may run at once.

    Args:
        source: Where they are.
        findings: Told what is wrong.
        fast: Whether to look only for their presence and size.
        stop: Ends the reading when it is set.
        sink: Told what was checked.

    Attributes:
        count: How many blobs were read.
        size: How many bytes these have.
    """

    def __init__(
        self, source: ImageSource, findings: Findings, *, fast: bool, stop: threading.Event, sink: Sink
    ) -> None:
        self.count = 0
        self.size = 0
        self._lock = threading.Lock()
        self._source = source
        self._findings = findings
        self._fast = fast
        self._stop = stop
        self._sink = sink
        self._done = 0
        self._total = 0
        self._throttle = Throttle()

    def tasks(self, uses: Iterable[BlobUse]) -> list[Callable[[], None]]:
        """Return the checks, one for each blob, the largest first."""
        jobs: dict[_Job, list[BlobUse]] = {}
        for use in uses:
            jobs.setdefault(_Job.of(use), []).append(use)
        ordered = sorted(jobs.items(), key=lambda item: -item[0].blob.size)
        self._total += sum(job.blob.size for job in jobs)
        return [self._task(job, tuple(uses)) for job, uses in ordered]

    def _task(self, job: _Job, uses: Sequence[BlobUse]) -> Callable[[], None]:
        return lambda: self._check(job, uses)

    def _check(self, job: _Job, uses: Sequence[BlobUse]) -> None:
        blob = job.blob
        if not self._is_here(job, uses):
            return
        if not blob.digest.is_supported:
            self._note("unchecked", uses, job, f"its digest cannot be computed here: {blob.digest.algorithm}")
        elif not self._fast:
            with self._findings.noting(*(use.path for use in uses), digest=blob.digest):
                facts = self._read(job)
                for use in uses:
                    self._compare(use, job, facts)

    def _is_here(self, job: _Job, uses: Sequence[BlobUse]) -> bool:
        """Return whether a blob has the size it should have, without reading it; say so where it has not."""
        blob = job.blob
        if self._source.has_blob(blob.digest, blob.size):
            return True
        if self._source.has_blob(blob.digest):
            self._note("error", uses, job, f"the blob has not the {blob.size:,} bytes that are said of it")
        elif blob.media_type in mediatypes.NONDISTRIBUTABLE and all(use.descriptor.urls for use in uses):
            self._note("unchecked", uses, job, "it is not here: its urls say where it is")
        else:
            self._note("error", uses, job, f"there is no blob {blob.digest}")
        return False

    def _read(self, job: _Job) -> LayerFacts:
        blob = job.blob
        with self._source.open_blob(blob) as stream:
            facts = check_layer(
                cast("BinaryIO", CountedReader(stream, self._advance)),  # only its read is asked for
                algorithm=blob.digest.algorithm,
                limit=blob.size,
                compression=job.compression,
                name=f"the blob {blob.digest} in {self._source.name}",
                diff_algorithm=job.diff_algorithm,
                stopped=self._stop.is_set,
            )
        with self._lock:
            self.count += 1
            self.size += facts.size
        self._sink(Notice(f"checked {blob.digest}: {facts.size:,} bytes, {facts.entries:,} entries"))
        return facts

    def _advance(self, size: int) -> None:
        if not size:
            return
        with self._lock:
            self._done += size
            if self._done == size or self._done >= self._total or self._throttle.due():
                # Beneath the lock, or a later one might overtake it.
                self._sink(CheckProgress(self._source.name, self._done, max(self._done, self._total)))

    def _compare(self, use: BlobUse, job: _Job, facts: LayerFacts) -> None:
        add, digest = self._findings.add, job.blob.digest
        if facts.size != job.blob.size:
            # The store has compared the sizes before; a file can change.
            add("error", use.path, f"the blob has not the {job.blob.size:,} bytes that are said of it", digest)
        if facts.digest != digest:
            add("error", use.path, f"the blob's digest is {facts.digest}, and {digest} is said of it", digest)
        for problem in facts.problems:
            add(problem.severity, use.path, problem.message, digest)
        if use.diff_id is None:
            return
        if job.compression is None:
            compression = mediatypes.compression_of(job.blob.media_type)
            if compression is not None:
                add("unchecked", use.path, f"its diff_id: nothing here inflates {compression} ({_INFLATERS})", digest)
        elif not use.diff_id.is_supported:
            add("unchecked", use.path, f"its diff_id cannot be computed here: {use.diff_id.algorithm}", digest)
        elif facts.diff_id is not None and facts.diff_id != use.diff_id:
            add(
                "error", use.path, f"its tar has the diff_id {facts.diff_id}, and the config says {use.diff_id}", digest
            )

    def _note(self, severity: Severity, uses: Sequence[BlobUse], job: _Job, message: str) -> None:
        for use in uses:
            self._findings.add(severity, use.path, message, job.blob.digest)
