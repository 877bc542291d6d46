"""Whatever the kernel or the allocator refuses a comparison, at whichever call: an error in words, and nothing left.

See test_engine_refusals.py, which refuses the packer.
"""

from __future__ import annotations

import errno
import os
import random
import shutil

import pytest

from oracles.changesets import copy_tree
from oracles.longform import times
from oracles.refusals import case, judge, names, results_of, within_reach

UNCACHED = {"preadv2": errno.EOPNOTSUPP}  # as on a file system that cannot say what is in the page cache

CASES = [
    case("openat", errno.EIO, "TreeError", "cannot open"),
    # One refusal is helped by letting go of what is kept open, but where the trees themselves are opened.
    case("openat", errno.EMFILE, "done TreeError"),
    case("openat", errno.EMFILE, "TreeError", "too many open files", lasting=True),
    case("openat", errno.ENOENT, "TreeChangedError TreeError"),
    case("fstat", errno.EIO, "TreeError", "input/output error"),
    case("fstatat", errno.EIO, "TreeError", "cannot ask for the status of"),
    case("getdents", errno.EIO, "TreeError", "cannot list the directory"),
    case("fcntl", errno.EMFILE, "TreeError", "cannot open the directory"),
    case("preadv2", errno.EIO, "done"),
    case("preadv2", 0, "TreeChangedError", "changed while it was packed"),
    case("pread", errno.EIO, "TreeError", "cannot read", always=UNCACHED),
    case("pread", errno.EIO, "TreeError", "cannot read", lasting=True, always=UNCACHED),
    case("pread", errno.EINTR, "done", always=UNCACHED),
    case("pread", 0, "TreeChangedError", "changed while it was packed", always=UNCACHED),
    # A file system that cannot tell where holes are: they are read.
    case("lseek", errno.EINVAL, "done"),
    case("lseek", errno.EINVAL, "done", lasting=True),
    *(
        case(call, errno.ENOMEM, "MemoryError", lasting=lasting)
        for call in ("malloc", "calloc", "realloc")
        for lasting in (False, True)
    ),
]
CASES = within_reach(CASES)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of all cases, from one process."""
    top = tmp_path_factory.mktemp("refusals")
    old, new = top / "place/old", top / "place/new"
    (old / "sub/deeper").mkdir(parents=True)
    (old / "gone").mkdir()
    # More names in one directory, and more pairs, than there is room for at first.
    for number in range(90):
        (old / "sub" / f"{number:02}").write_bytes(b"x" * number * 20)
        os.link(old / "sub" / f"{number:02}", old / "sub/deeper" / f"{number:02}")
    (old / "gone/x").write_bytes(b"gone")
    (old / "sub/deeper/large").write_bytes(random.Random(1).randbytes(1_500_000))
    with open(old / "holes", "wb") as file:
        file.write(b"front")
        file.truncate(2_000_000)
    (old / "link").symlink_to("sub/01")
    copy_tree(old, new)
    shutil.rmtree(new / "gone")
    (new / "sub/07").chmod(0o600)
    (new / "sub/more").write_bytes(b"more")
    with open(new / "holes", "r+b") as file:
        file.seek(1_000_000)
        file.write(b"x")
    os.utime(new / "holes", ns=(0, os.stat(old / "holes").st_mtime_ns))
    return results_of("comparisonfaults", top / "place", top, CASES)


@pytest.mark.timeout(times(300, 3600))
@pytest.mark.parametrize("number", range(len(CASES)), ids=names(CASES))
def test_a_refusal(results, number):
    judge(results[number], *CASES[number][1:])
