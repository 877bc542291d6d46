"""Whatever the kernel or the allocator refuses the writer of files, at whichever call: an error that names the file.

See test_engine_refusals.py, which refuses the packer.
"""

from __future__ import annotations

import errno

import pytest

from oracles.longform import times
from oracles.nasty import is_root
from oracles.refusals import case, judge, names, results_of, within_reach

# What the engine cannot enter or make of directories it leaves to Python, which is not refused it here.
CASES = [
    case("openat", errno.ENOSPC, "StoreError done", "no space left on device"),
    case("openat", errno.EMFILE, "StoreError done", "too many open files", lasting=True),
    case("openat", errno.ENAMETOOLONG, "StoreError done", "file name too long"),
    case("openat", errno.EINTR, "done"),
    # As if somebody else made one at the same time, again and again.
    case("openat", errno.EEXIST, "done StoreError"),
    case("openat", errno.EEXIST, "StoreError done", "file exists", lasting=True),
    case("mkdirat", errno.EACCES, "done"),
    case("mkdirat", errno.ENOSPC, "done", lasting=True),
    case("symlinkat", errno.ENOSPC, "StoreError", "no space left on device"),
    case("symlinkat", errno.EINTR, "done"),
    case("symlinkat", errno.EEXIST, "StoreError", "file exists", lasting=True),
    case("utimensat", errno.EPERM, "StoreError", "operation not permitted"),
    case("write", errno.ENOSPC, "StoreError", "no space left on device"),
    case("write", errno.EIO, "StoreError", "input/output error", lasting=True),
    case("write", errno.EINTR, "done"),
    case("write", 0, "done"),
    case("fstat", errno.EIO, "StoreError done", "input/output error"),
    case("calloc", errno.ENOMEM, "MemoryError"),
    # It says whether a directory is in the way; the file's own making says whatever else there is.
    case("fstatat", errno.EIO, "done"),
    case("fchmod", errno.EPERM, "StoreError", "operation not permitted"),
    case("futimens", errno.EROFS, "StoreError", "read-only file system"),
    case("unlinkat", errno.EACCES, "StoreError", "permission denied"),
    case("unlinkat", errno.EISDIR, "StoreError", "is a directory"),
    # Somebody else was faster.
    case("unlinkat", errno.ENOENT, "done StoreError"),
    case("close", errno.EIO, "StoreError done"),
    # Nothing is lost by a directory that is not closed.
    case("close", errno.EDQUOT, "StoreError done", "disk quota exceeded", lasting=True),
    case("close", errno.EINTR, "done"),
    case("fcntl", errno.EMFILE, "StoreError", "too many open files"),
    case("malloc", errno.ENOMEM, "MemoryError"),
    case("malloc", errno.ENOMEM, "MemoryError", lasting=True),
]
if is_root():
    CASES.append(case("fchown", errno.EPERM, "StoreError", "operation not permitted"))
    CASES.append(case("fchownat", errno.EPERM, "StoreError", "operation not permitted"))
CASES = within_reach(CASES)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of all cases, from one process."""
    top = tmp_path_factory.mktemp("refusals")
    place = top / "place"
    place.mkdir()
    return results_of("writerfaults", place, top, CASES)


@pytest.mark.timeout(times(300, 3600))
@pytest.mark.parametrize("number", range(len(CASES)), ids=names(CASES))
def test_a_refusal(results, number):
    judge(results[number], *CASES[number][1:])
