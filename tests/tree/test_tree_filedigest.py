"""What a file is known by: the same wherever its zeros come from, and in whatever pieces."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from fastoci.tree.filedigest import FileDigest, digest_of

BLOCK = 4096


def reference(data: bytes) -> bytes:
    """Return the digest after the words of its docstring."""
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    zeros = [number for number, block in enumerate(blocks) if block == bytes(BLOCK)]
    kept = hashlib.sha256(b"".join(block for number, block in enumerate(blocks) if number not in zeros)).digest()
    if not zeros:
        return kept
    runs = b""
    for first in (number for number in zeros if number - 1 not in zeros):
        count = next(count for count in range(1, len(blocks) + 1) if first + count not in zeros)
        runs += first.to_bytes(8, "little") + count.to_bytes(8, "little")
    return hashlib.sha256(kept + hashlib.sha256(runs).digest()).digest()


# Bytes, or so many zeros that nobody has read.
PARTS = st.lists(
    st.one_of(
        st.integers(1, 3 * BLOCK),
        st.sampled_from([BLOCK, 2 * BLOCK, BLOCK - 1, BLOCK + 1]),
        st.tuples(st.sampled_from([b"x", b"\0", b"\0x"]), st.sampled_from([1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 9000])),
    ),
    max_size=8,
)


@given(PARTS)
def test_any_parts(parts):
    whole = b"".join(bytes(part) if isinstance(part, int) else part[0] * part[1] for part in parts)
    digest = FileDigest(exact=True)
    for part in parts:
        digest.skip(part) if isinstance(part, int) else digest.update(memoryview(part[0] * part[1]))
    assert digest.digest() == reference(whole)
    assert digest.exact() in (None, hashlib.sha256(whole).digest())
    read = FileDigest(exact=True)
    read.update(whole)
    assert (read.digest(), read.exact()) == (reference(whole), hashlib.sha256(whole).digest())
    assert FileDigest().exact() is None


@given(st.lists(st.tuples(st.sampled_from([b"x", b"\0"]), st.sampled_from([0, 1, BLOCK, 9000])), max_size=4))
def test_several_at_once(files):
    contents = [byte * size for byte, size in files]
    said = [(memoryview(data), data[:BLOCK] == bytes(BLOCK)) for data in contents]
    assert digest_of(said) == b"".join(map(reference, contents))


def test_a_hole_costs_nothing():
    digest = FileDigest()
    digest.update(b"x" * 10)
    digest.skip(1 << 62)
    digest.update(b"y")
    assert len(digest.digest()) == 32
