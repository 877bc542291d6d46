"""Whatever the kernel or the allocator refuses the engine, at whichever call: one error in words, and nothing left.

The calls are refused by a library that is preloaded (tests/oracles/faultshim.c), in a process of its own; what must
hold of every refusal is asserted there (tests/oracles/nativefaults.py). The long form refuses every single call.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import oracles
from oracles.longform import times
from oracles.nasty import BLOCK
from oracles.unpackers import program

ORACLES = Path(oracles.__file__).parent
UNDER_A_SANITIZER = "libasan" in os.environ.get("LD_PRELOAD", "")
UNCACHED = {"preadv2": errno.EOPNOTSUPP}  # as on a file system that cannot say what is in the page cache
COLD = {"preadv2": errno.EAGAIN}  # as where nothing is in the page cache: the tree is read ahead
NO_XATTRAT = {"listxattr": errno.ENOSYS, "getxattr": errno.ENOSYS}  # as before Linux 6.13


def case(call, error, outcomes, words="", *, lasting=False, always=None):
    """Return a case: what is refused, what may come of it, and what an error says."""
    return {"call": call, "error": error, "lasting": lasting, "always": always or {}}, set(outcomes.split()), words


MEMORY = [case(call, errno.ENOMEM, "MemoryError", lasting=lasting) for call in ("malloc", "calloc", "realloc")
          for lasting in (False, True)]  # fmt: skip
MEMORY.append(case("realloc", errno.ENOMEM, "MemoryError done", lasting=True, always=COLD))
CASES = [
    # Of what is left out nothing is asked twice, and so nothing is the worse for it.
    case("fstatat", errno.EIO, "TreeError done", "cannot ask for the status of"),
    case("fstatat", errno.ENOENT, "TreeChangedError done", "vanished"),
    # Where a file had just left the page cache, the refusal may meet whoever reads ahead, and harms nobody.
    case("openat", errno.EIO, "TreeError done", "cannot open"),
    # One refusal is helped by letting go of what is kept open; where that does not help, it is said.
    case("openat", errno.EMFILE, "done"),
    case("openat", errno.EMFILE, "TreeError", "too many open files", lasting=True),
    case("openat", errno.EACCES, "TreeError done", "permission denied"),
    case("openat", errno.ENOENT, "TreeChangedError done", "vanished"),
    case("openat", errno.ELOOP, "TreeChangedError done", "was replaced"),
    case("openat", errno.EIO, "TreeError", "cannot open", lasting=True),
    case("fstat", errno.EIO, "TreeError", "input/output error"),
    case("readlinkat", errno.EIO, "TreeError", "cannot read the symbolic link"),
    case("readlinkat", errno.EINVAL, "TreeChangedError", "was replaced"),
    case("getdents", errno.EIO, "TreeError", "cannot list the directory"),
    case("listxattr", errno.EIO, "TreeError done", "cannot read the extended attributes of"),
    case("listxattr", errno.ENOTSUP, "done"),
    case("getxattr", errno.EIO, "TreeError", "cannot read the extended attributes of"),
    case("getxattr", errno.ENODATA, "done"),
    case("fcntl", errno.EMFILE, "TreeError", "cannot open the directory"),
    # What the kernel cannot tell of the page cache is read all the same.
    case("preadv2", errno.EIO, "done"),
    case("preadv2", errno.ENOSYS, "done", lasting=True),
    case("preadv2", errno.EAGAIN, "done", lasting=True),
    case("preadv2", 0, "TreeChangedError", "changed while it was packed"),
    case("pread", errno.EIO, "TreeError", "cannot read", always=UNCACHED),
    case("pread", errno.EINTR, "done", always=UNCACHED),
    case("pread", 0, "TreeChangedError", "changed while it was packed", always=UNCACHED),
    # A file system that cannot tell where holes are: they are read.
    case("lseek", errno.EINVAL, "done"),
    case("lseek", errno.EINVAL, "done", lasting=True),
    # Older kernels, and sandboxes that let a thread have no directory of its own.
    case("unshare", errno.EPERM, "done", always=NO_XATTRAT),
    case("unshare", errno.EPERM, "done", lasting=True, always=NO_XATTRAT),
    # Reading ahead is a help, and no more.
    case("io_setup", errno.EAGAIN, "done", always=COLD),
    case("io_submit", errno.EAGAIN, "done", lasting=True, always=COLD),
    case("io_getevents", errno.EINVAL, "done", lasting=True, always=COLD),
    case("fadvise", errno.EINVAL, "done", lasting=True, always=COLD),
    case("openat", errno.EMFILE, "TreeError", "too many open files", lasting=True, always=COLD),
    *MEMORY,
]
if UNDER_A_SANITIZER:
    # The sanitizer stands before the shim with an allocator of its own, and with its own of these two.
    CASES = [one for one in CASES if one[0]["call"] not in ("malloc", "calloc", "realloc", "readlinkat", "pread")]
NAMES = [
    f"{what['call']}-{errno.errorcode.get(what['error'], 'EOF')}{'-lasting' * what['lasting']}" for what, _, _ in CASES
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of all cases, from one process."""
    top = tmp_path_factory.mktemp("refusals")
    root = top / "tree"
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "gone" / "kept").mkdir(parents=True)
    # More names in one directory than there is room for at first.
    for number in range(70):
        (root / "sub" / f"{number:02}").write_bytes(b"x" * number * 20)
    (root / "gone" / "kept" / "x").write_bytes(b"kept")
    (root / "gone" / "y").write_bytes(b"gone")
    (root / "sub" / "deeper" / "large").write_bytes(random.Random(1).randbytes(3 * BLOCK))
    with open(root / "holes", "wb") as file:
        file.write(b"front")
        file.truncate(2_000_000)
    (root / "link").symlink_to("sub/01")
    os.link(root / "sub" / "01", root / "sub" / "again")
    for name in ("sub/03", "sub"):
        os.setxattr(root / name, "user.a", b"v" * 300)
    shim = top / "faultshim.so"
    without = ["-DWITHOUT_MALLOC"] if UNDER_A_SANITIZER else []
    compiler = program("gcc", "gcc")
    command = [compiler, "-O1", "-fPIC", "-shared", *without, "-o", str(shim), str(ORACLES / "faultshim.c"), "-ldl"]
    subprocess.run(command, check=True, env={**os.environ, "LD_PRELOAD": ""})
    path = os.pathsep.join([str(ORACLES.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    preload = " ".join([*os.environ.get("LD_PRELOAD", "").split(), str(shim)])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "oracles.nativefaults", str(root), str(shim),
         json.dumps([what for what, _, _ in CASES])],
        env={**os.environ, "PYTHONPATH": path, "LD_PRELOAD": preload},
        capture_output=True,
        text=True,
        timeout=times(240, 3600),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.timeout(times(300, 3600))
@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_a_refusal(results, number):
    _, outcomes, words = CASES[number]
    result = results[number]
    assert result["calls"] > 0, "the engine does not call it: the case shows nothing"
    assert sum(result["outcomes"].values()) > 0
    assert set(result["outcomes"]) <= outcomes, result
    if words:
        assert any(words in said for said in result["words"])
        assert all(words in said or said.startswith("sha256:") for said in result["words"]), result["words"]
