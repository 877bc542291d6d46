"""Every call of the native engine into the C library refused once, while it packs; see oracles/refusing.py.

`python -m oracles.nativefaults TREE SHIM CASES`. The error is one of ours and names what it is about, or there was no
memory; or the layer is what it would have been. Nothing is committed after an error.
"""

from __future__ import annotations

import errno
import sys
import traceback

from fastoci.errors import TreeError
from fastoci.events import discard
from fastoci.layer import pack
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.spec.digest import Digest
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.refusing import nothing_left, refuse

# What makes tables in the engine, besides the tree.
POLICY = TreePolicy(patterns=("gone*", "!gone/kept"))
DEST = "/opt/app"


class Sink:
    """A blob sink that keeps the digest alone."""

    committed: Digest | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""

    def commit(self, digest: Digest) -> None:
        """Take the digest."""
        self.committed = digest


def attempt(tree: str, whole: str | None) -> tuple[str, str]:
    """Pack, and return (outcome, the error's words); see the module."""
    sink = Sink()
    said = ""
    with nothing_left():
        try:
            layer = pack_tree(TreeSource(tree, DEST), POLICY, LayerOptions(threads=2), sink, discard)
        except TreeError as error:
            outcome, said = type(error).__name__, f"{error.what} | {error.cause}"
            number, path = error.errno, error.path
            traceback.clear_frames(error.__traceback__)
        except MemoryError as error:
            outcome = "MemoryError"
            traceback.clear_frames(error.__traceback__)
        else:
            outcome = "done"
            assert whole is None or str(layer.diff_id) == whole, "it was made, and is another layer"
            said = str(layer.diff_id)
            del layer
        if said and outcome != "done":
            assert path.startswith(tree), path
            assert number or outcome == "TreeChangedError"
        assert (sink.committed is not None) == (outcome == "done")
    return outcome, said.replace(tree, "TREE")


def main() -> None:
    """Run the cases."""
    tree = sys.argv[1]
    # Their number decides how many calls there are, and one thread can be refused as well as another.
    pack.SCAN_THREADS = 2
    outcome, whole = attempt(tree, None)
    assert outcome == "done", whole
    refuse(
        lambda exact: attempt(tree, whole if exact else None),
        # The first file that is opened is the source itself: what comes of that is not the scan's part, nor the
        # renderer's.
        skipped=lambda name, lasting: int(name == "openat" and not lasting),
        # Attributes that are not there in time are no part of the tree, nor is a directory that is left out.
        may_differ=lambda error: error in (errno.ENODATA, errno.ENOENT, errno.ENOTSUP),
    )


if __name__ == "__main__":
    main()
