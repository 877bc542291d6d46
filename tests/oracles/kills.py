"""A client that is killed while it uploads, in a process that lives on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fastoci.registry.upload_work import UploadWork

if TYPE_CHECKING:
    from fastoci.registry.chunks import Chunk


class KilledError(BaseException):
    """What ends a run as SIGKILL does: nothing of ours runs afterwards."""


@contextmanager
def killed_from(offset: int, *, growing: bool = False) -> Iterator[None]:
    """Have what is within be killed where the chunk at `offset` would be sent; the lock goes with the process.

    Args:
        offset: Of the chunk.
        growing: Whether only a blob counts that is still being made.
    """
    whole = UploadWork.body

    def body(work: UploadWork, end: int) -> Chunk:
        if work.session.offset >= offset and (work.growing is not None or not growing):
            raise KilledError
        return whole(work, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UploadWork, "body", body)
        with pytest.raises(KilledError):
            yield
