"""One tree, one digest: in every process.

ISA-L's levels 1 and 2 hash an uninitialised register where a stream begins without history. Without the stored prefix
of each block this very test finds five digests in sixty processes, and none but one over a tree of 31 MB.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from oracles.nasty import mixed_data

PROCESSES = 60
FILES = 10
SIZE = 16 * 1024 * 1024

PACK = """
import sys
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

class Nowhere:
    def write(self, data):
        pass
    def commit(self, digest):
        print(digest)

pack_tree(TreeSource(sys.argv[1]), TreePolicy(), LayerOptions(threads=1), Nowhere(), lambda event: None)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sixty_processes_give_one_digest(tmp_path):
    for number in range(FILES):
        (tmp_path / f"{number}").write_bytes(mixed_data(SIZE, number))

    def digest(_):
        done = subprocess.run([sys.executable, "-c", PACK, str(tmp_path)], capture_output=True, check=True, text=True)
        return done.stdout

    with ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)))) as processes:
        digests = Counter(processes.map(digest, range(PROCESSES)))
    assert list(digests.values()) == [PROCESSES]
    assert next(iter(digests)).startswith("sha256:")
