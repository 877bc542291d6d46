"""BlobStream: what one writes and another reads at its own pace, with a memory that is as small as was asked for."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci.errors import TreeChangedError
from fastoci.layer import stream as stream_module
from fastoci.layer.stream import BlobStream
from fastoci.spec.digest import Digest
from oracles.streams import MemoryBlocks, pieces_of, planned_layer

BLOCKS = [random.Random(number).randbytes(1000 + 700 * number) for number in range(12)]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []


@pytest.fixture(autouse=True)
def nobody_is_waited_for(monkeypatch):
    """Where a test's packer and its reader are one thread."""
    monkeypatch.setattr(stream_module, "HELD_UP_FIRST", 0.0)


class Written:
    """A stream and what has been, and is going to be, written into it."""

    def __init__(self, blocks=BLOCKS, *, window=1 << 20, compression="gzip", planned=None, **options):
        self.blocks = MemoryBlocks(blocks, planned=planned)
        self.planned = planned_layer(self.blocks, compression=compression)
        self.pieces = pieces_of(self.planned, blocks)
        self.blob = b"".join(self.pieces)
        self.stream = BlobStream(self.planned, "place:1", window, **options)

    def write(self, first=0, last=None):
        for piece in self.pieces[first:last]:
            self.stream.write(piece)

    def commit(self):
        self.stream.commit(Digest("sha256", hashlib.sha256(self.blob).hexdigest()))

    def finish(self):
        self.write()
        self.commit()
        return self

    def read(self, offset=0, end=None, size=777):
        """Read as an upload does, telling what it will not ask for again."""
        end = len(self.blob) if end is None else end
        data = b""
        while offset < end:
            piece = bytes(self.stream.read_at(offset, min(size, end - offset)))
            assert 0 < len(piece) <= size
            data += piece
            offset += len(piece)
            self.stream.passed(offset)
        return data


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("window", [0, 3000, 1 << 20])
def test_what_is_read_is_what_was_written(window, compression):
    it = Written(window=window, compression=compression).finish()
    data = it.read()
    assert data == it.blob
    assert (gzip.decompress(data) if compression == "gzip" else data) == b"".join(BLOCKS)
    descriptor = it.stream.descriptor
    assert descriptor is not None
    assert (descriptor.size, descriptor.digest.hex) == (len(data), hashlib.sha256(data).hexdigest())
    assert it.stream.size == it.stream.made == it.stream.wait(None) == len(data)
    assert (len(it.blocks.read_numbers) == 0) == (window == 1 << 20)
    it.stream.close()
    assert it.blocks.open == 0


def test_the_window_is_never_overdrawn():
    """A packer that never waits fills it once; what finds no room is made again, and memory stays as it is."""
    it = Written(window=9000, clock=lambda: 0.0)
    for number in range(len(it.pieces)):
        it.write(number, number + 1)
        assert it.stream._kept_size == sum(map(len, it.stream._kept.values())) <= 9000
    it.commit()
    assert it.read() == it.blob
    assert it.stream._kept == {}
    in_memory = [number for number in range(12) if number not in it.blocks.read_numbers]
    assert 3 <= len(in_memory) < 12, "what was kept was not made again"
    it.stream.close()


def test_a_reader_that_catches_up_is_fed_from_memory_again():
    """Room is given to whatever comes, also after something found none: only that is made again."""
    it = Written([random.Random(n).randbytes(1000) for n in range(30)], window=5200, clock=lambda: 0.0)
    it.write(0, 9)  # the first five find room, the other three do not
    at = it.stream.made
    assert it.read(0, at) == it.blob[:at]
    assert set(it.blocks.read_numbers) == {5, 6, 7}
    for number in range(9, len(it.pieces)):
        it.write(number, number + 1)
        assert it.read(at, it.stream.made) == it.blob[at : it.stream.made]
        at = it.stream.made
    it.commit()
    assert set(it.blocks.read_numbers) == {5, 6, 7}
    it.stream.close()


def test_what_was_read_is_kept_until_its_room_is_needed():
    """An upload reads a chunk, and may have to read it again until it is acknowledged."""
    it = Written([random.Random(n).randbytes(1000) for n in range(12)], window=5200, clock=lambda: 0.0)
    it.write(0, 6)
    third = sum(map(len, it.pieces[:4]))
    assert it.stream.read_at(third - 1, 1) == it.blob[third - 1 : third]
    assert len(it.stream._kept) == 5
    it.write(6, 8)
    assert min(it.stream._kept) == 3, "the two that lie before what is read have made room"
    it.write(8)
    it.commit()
    assert it.read() == it.blob
    it.stream.close()


def test_a_reader_that_waits_is_not_waited_for():
    """It wants more than the window holds, as who sends a blob as a whole does: the packer is not held up."""
    clock, seen = itertools.count(0, 10**6), []
    it = Written(window=3000, clock=lambda: next(clock))
    reader = threading.Thread(target=lambda: seen.append(it.stream.wait(None)))
    reader.start()
    it.finish()
    reader.join(30)
    assert seen == [len(it.blob)]
    assert it.read() == it.blob
    it.stream.close()


def test_a_reader_that_keeps_pace_is_fed_from_memory():
    it = Written(window=9000)
    at = 0
    for number in range(len(it.pieces)):
        it.write(number, number + 1)
        end = it.stream.made
        assert it.read(at, end) == it.blob[at:end]
        at = end
    it.commit()
    assert it.blocks.read_numbers == []
    it.stream.close()


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 3000), max_size=9),
    window=st.sampled_from([0, 1, 2500, 1 << 20]),
    compression=st.sampled_from(["gzip", "none"]),
    reads=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 5000)), max_size=12),
)
def test_any_bytes_at_any_time(sizes, window, compression, reads):
    it = Written(
        [random.Random(n).randbytes(size) for n, size in enumerate(sizes)], window=window, compression=compression
    ).finish()
    for part, size in reads if it.blob else []:
        offset = int(part * len(it.blob))
        data = bytes(it.stream.read_at(offset, size))
        assert data
        assert data == it.blob[offset : offset + len(data)]
        it.stream.passed(offset)
    it.stream.close()


def test_a_plan_that_grows():
    """The reader falls behind what is planned again and again, and goes beyond what was planned when it began."""
    blocks = [random.Random(n).randbytes(3000) for n in range(40)]
    it = Written(blocks, window=0, planned=2)
    it.write(0, 3)
    first = it.read(0, it.stream.made)
    for number in range(2, 40):
        it.blocks.grow(number + 1)
        it.write(number + 1, number + 2)
        if number == 20:
            middle = it.read(len(first), it.stream.made)
    it.write(41)
    it.commit()
    assert first + middle + it.read(len(first + middle)) == it.blob
    it.stream.close()


def test_wait_returns_when_there_is_enough_and_when_there_will_be_no_more():
    it, seen = Written(), []
    half = len(it.pieces[0] + it.pieces[1])
    waiting = [threading.Thread(target=lambda n=n: seen.append((n, it.stream.wait(n)))) for n in (half, None, 1 << 40)]
    for thread in waiting:
        thread.start()
    it.write(0, 2)
    waiting[0].join(30)
    assert seen == [(half, half)]
    it.write(2)
    it.commit()
    for thread in waiting:
        thread.join(30)
    assert sorted(seen, key=repr) == sorted([(half, half), (None, len(it.blob)), (1 << 40, len(it.blob))], key=repr)
    with pytest.raises(ValueError, match="not so many"):
        it.stream.read_at(len(it.blob), 1)
    it.stream.close()


def test_what_one_side_fails_with_the_other_raises():
    whole = Written().finish()
    proof = whole.stream.proof(whole.stream.made)
    it, caught = Written(), []

    def wait():
        try:
            it.stream.wait(None)
        except OSError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    it.write(0, 2)
    wrong = OSError("no more")
    it.stream.fail(wrong)
    it.stream.fail(ValueError("the second does not count"))
    thread.join(30)
    assert caught == [wrong]
    with pytest.raises(OSError, match="no more"):
        it.write(2, 3)
    with pytest.raises(OSError, match="no more"):
        it.stream.fits(proof)
    with pytest.raises(ValueError, match="not whole"):
        _ = it.stream.size


class Clock:
    """Each look at it takes a hundredth of a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.01
        return self.now


def test_a_packer_is_held_up_a_quarter_of_its_time_at_most():
    clock = Clock()
    it = Written([bytes(random.Random(n).randbytes(1500)) for n in range(40)], window=3200, clock=clock).finish()
    assert it.stream._held_up <= stream_module.HELD_UP * clock.now
    assert it.read() == it.blob
    it.stream.close()


def test_a_packer_that_waits_is_woken_by_an_error():
    clock, caught = iter(range(0, 10**9, 10**5)), []
    it = Written(window=3000, clock=lambda: next(clock))  # which makes patience for hours

    def write():
        try:
            it.write()
        except OSError as error:
            caught.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    gone = OSError("the reader has gone")
    it.stream.fail(gone)
    thread.join(30)
    assert caught == [gone]
    it.stream.close()


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_block_that_is_not_what_it_was(compression):
    it = Written(window=0, compression=compression).finish()
    it.blocks.blocks[5] = it.blocks.blocks[5][:-1] + b"\0"
    good = sum(map(len, it.pieces[:6]))
    assert it.read(0, good) == it.blob[:good]
    with pytest.raises(TreeChangedError, match="rootfs changed while it was sent") as caught:
        it.stream.read_at(good, 1)
    assert "block 5 of 12" in str(caught.value.cause)
    it.stream.close()


def test_a_source_that_cannot_be_read_again():
    it = Written(window=0).finish()
    it.blocks.blocks[3:] = []
    with pytest.raises(IndexError):
        it.read()
    it.stream.close()
    assert it.blocks.open == 0


def test_it_can_be_read_after_it_was_closed():
    """Another repository at the same registry may want the blob when the first has it."""
    it = Written().finish()
    assert it.read() == it.blob
    it.stream.close()
    assert it.read() == it.blob
    it.stream.close()
    assert it.blocks.open == 0


# A spool.


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_spool_has_all_of_it(tmp_path, compression):
    with (tmp_path / "spool").open("w+b") as spool:
        it = Written(window=3000, compression=compression, spool=spool.fileno()).finish()
        assert it.stream.wait(None) == len(it.blob)
        assert it.read() == it.blob
        assert it.read() == it.blob
        assert (tmp_path / "spool").read_bytes() == it.blob
        assert it.blocks.read_numbers == []
        it.stream.close()
        assert it.read() == it.blob


def test_a_spool_that_somebody_else_fills(tmp_path):
    """Nothing is kept for a reader that is behind, made again, or written a second time."""
    with (tmp_path / "spool").open("w+b") as spool:
        it = Written(window=1 << 20, spool=spool.fileno(), filled=True)
        for piece in it.pieces:
            spool.write(piece)
            spool.flush()
            it.stream.write(piece)
        it.commit()
        assert it.read() == it.blob
        assert it.read(4000) == it.blob[4000:]
        assert it.stream._kept == {}
        it.stream.close()
        assert (tmp_path / "spool").read_bytes() == it.blob
        assert it.blocks.read_numbers == []


def test_a_spool_that_somebody_else_closes(tmp_path):
    """What cannot be read there is made again."""
    with (tmp_path / "spool").open("w+b") as spool:
        it = Written(window=0, spool=spool.fileno(), filled=True)
        spool.write(it.blob)
        spool.flush()
        it.finish()
    assert it.read() == it.blob
    assert it.blocks.read_numbers
    it.stream.close()


@pytest.mark.parametrize("after", [0, 1, 5000])
def test_a_spool_without_room(tmp_path, monkeypatch, after):
    """What found no room is made again."""
    real, room = os.pwrite, [after]

    def pwrite(fd, data, offset):
        data = data[: min(777, room[0])]
        if not data:
            raise OSError(28, "No space left on device")
        room[0] -= len(data)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with (tmp_path / "spool").open("w+b") as spool:
        it = Written(window=0, spool=spool.fileno()).finish()
        assert it.read() == it.blob
        made_again = set(it.blocks.read_numbers)
        assert made_again == {number for number in range(12) if sum(map(len, it.pieces[: number + 2])) > after}
        it.stream.close()


def test_a_spool_that_lost_what_it_had(tmp_path):
    with (tmp_path / "spool").open("w+b") as spool:
        it = Written(window=0, spool=spool.fileno()).finish()
        spool.truncate(5000)
        assert it.read() == it.blob
        it.stream.close()


# Proofs.


@settings(max_examples=60)
@given(
    count=st.integers(1, 12),
    changed=st.integers(0, 11),
    part=st.floats(0, 1),
    how=st.sampled_from(["byte", "longer", "swap", "same"]),
)
def test_a_proof_fits_the_same_bytes_and_no_others(count, changed, part, how):
    blocks = [random.Random(n).randbytes(900) for n in range(count)]
    one = Written(blocks).finish()
    offset = int(part * len(one.blob))
    proof = one.stream.proof(offset)
    other = list(blocks)
    changed %= count
    if how == "byte":
        other[changed] = other[changed][:-1] + bytes([other[changed][-1] ^ 1])
    elif how == "longer":
        other[changed] += b"x"
    elif how == "swap":
        other[changed], other[0] = other[0], other[changed]
    two = Written(other).finish()
    # The proof is about whole pieces; the one that holds the last byte sent is among them.
    covered, end = 0, 0
    while end < offset:
        end += len(one.pieces[covered])
        covered += 1
    assert two.stream.fits(proof) == (one.pieces[:covered] == two.pieces[:covered])
    assert one.stream.fits(proof)
    for it in (one, two):
        it.stream.close()


def test_a_proof_is_waited_for_no_longer_than_it_takes_to_see_that_it_does_not_fit():
    blocks = [random.Random(n).randbytes(500) for n in range(1000)]
    one = Written(blocks).finish()
    proof = one.stream.proof(one.stream.made)
    assert len(proof) < 400
    same, other = Written(blocks), Written([blocks[0], b"changed", *blocks[2:]])
    results = []
    threads = [
        threading.Thread(target=lambda it=it: results.append((it, it.stream.fits(proof)))) for it in (same, other)
    ]
    for thread in threads:
        thread.start()
    other.write(0, 4)
    threads[1].join(30)
    assert results == [(other, False)]
    same.write()
    same.commit()
    threads[0].join(30)
    assert results[1:] == [(same, True)]
    for it in (one, same, other):
        it.stream.close()


def test_a_proof_of_more_than_there_is():
    one, two = Written().finish(), Written(BLOCKS[:5]).finish()
    assert not two.stream.fits(one.stream.proof(one.stream.made))
    assert two.stream.fits(two.stream.proof(0))
    for it in (one, two):
        it.stream.close()


@given(st.one_of(st.text(), st.from_regex(r"[0-9]{1,30}:([0-9a-f,]{0,200})", fullmatch=True)))
def test_proofs_that_nobody_gave(proof):
    it = Written(BLOCKS[:3]).finish()
    assert not it.stream.fits(proof) or proof in {it.stream.proof(0), it.stream.proof(it.stream.made)}
    it.stream.close()
