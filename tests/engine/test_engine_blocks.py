"""Blocks: where the stream is cut, and that each is rendered alone as it stands in the whole."""

from __future__ import annotations

import os
import random
import threading
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci._engine.scanner import Scanner
from fastoci.tree.patterns import compile_patterns
from oracles.blockreference import cut
from oracles.nasty import BLOCK, mixed_data
from oracles.packing import plan, render, render_all, scan
from oracles.randomtrees import TREES, made
from oracles.snapshot import packable, snapshot
from oracles.tarreference import write_pieces, write_tar


def blocks_of(planned):
    return [render(planned, number) for number in range(planned.block_count)]


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Many files, of which some have paths whose CRC-32 closes a block."""
    root = tmp_path_factory.mktemp("small") / "tree"
    for number in range(1500):
        path = root / f"{number % 7}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d\n" % number * (number % 90))
    return root


@pytest.mark.parametrize("size", [16 * 1024, 16 * 1024 + 512, 64 * 1024, BLOCK, 8 * BLOCK])
def test_the_cut_of_the_nasty_tree(nasty_tree, size):
    expected = cut(write_pieces(nasty_tree.entries), size)
    planned = plan(nasty_tree.path, block_size=size)
    found = [planned.block(number) for number in range(planned.block_count)]
    assert [block[3] for block in found] == [len(block) for block in expected]
    assert [block[2] for block in found] == [sum(map(len, expected[:number])) for number in range(len(expected))]
    assert blocks_of(planned) == expected


@pytest.mark.parametrize("size", [2048, 16 * 1024, BLOCK])
def test_the_cut_of_many_small_files(small_files, size):
    pieces = write_pieces(packable(snapshot(small_files)))
    expected = cut(pieces, size)
    by_path = sum(zlib.crc32(piece.path) % 256 == 0 for piece in pieces)
    assert by_path > 2
    if size == BLOCK:
        assert len(expected) >= by_path
    assert blocks_of(plan(small_files, block_size=size)) == expected


@given(TREES, st.sampled_from([4096, 4608, 8192, 32768]))
@settings(max_examples=60)
def test_the_cut_of_any_tree(spec, size):
    with made(spec) as root:
        pieces = write_pieces(packable(snapshot(root)))
        assert blocks_of(plan(root, block_size=size)) == cut(pieces, size)


@pytest.mark.parametrize(
    "size", [BLOCK - 512 - 1024, BLOCK - 512 - 1023, BLOCK - 1024, BLOCK - 512, BLOCK - 511, BLOCK, 2 * BLOCK]
)
def test_the_last_file_and_the_trailer(tmp_path, size):
    (tmp_path / "only").write_bytes(mixed_data(size, size))
    expected = cut(write_pieces(snapshot(tmp_path)), BLOCK)
    assert blocks_of(plan(tmp_path)) == expected


def test_an_empty_tree_is_the_trailer(tmp_path):
    planned = plan(tmp_path)
    assert planned.block_count == 1
    assert planned.tar_size == 1024
    assert render(planned, 0) == bytes(1024)
    assert len(planned.table) == 0


def test_blocks_in_any_order_are_the_slices_of_the_whole(nasty_tree):
    whole = write_tar(write_pieces(nasty_tree.entries))
    planned = plan(nasty_tree.path, block_size=16 * 1024)
    numbers = list(range(planned.block_count)) * 2
    random.Random(3).shuffle(numbers)
    renderer = Renderer(planned)
    for number in numbers:
        _, _, offset, size = planned.block(number)
        assert render(planned, number, renderer) == whole[offset : offset + size]


def test_blocks_by_several_threads(nasty_tree):
    planned = plan(nasty_tree.path, block_size=16 * 1024)
    expected = blocks_of(planned)
    wrong = []

    def work(seed):
        renderer = Renderer(planned)
        numbers = list(range(planned.block_count))
        random.Random(seed).shuffle(numbers)
        wrong.extend(number for number in numbers if render(planned, number, renderer) != expected[number])
        renderer.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_lies_behind_a_block_in_the_buffer_stays(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * 700)
    planned = plan(tmp_path)
    buffer = bytearray(b"\xaa" * (2 * BLOCK))
    size = Renderer(planned).render(0, buffer)
    assert size == 512 + 1024 + 1024
    assert bytes(buffer[:size]) == render_all(planned)
    assert set(buffer[size:]) == {0xAA}


def test_a_large_file_gives_the_same_blocks_in_any_tree(tmp_path):
    data = mixed_data(3 * BLOCK + 100, 4)
    for name, others in (("one", 3), ("two", 40)):
        (tmp_path / name).mkdir()
        for number in range(others):
            (tmp_path / name / f"{number}").write_bytes(b"x" * number * 1000)
        (tmp_path / name / "large").write_bytes(data)
    one, two = (set(blocks_of(plan(tmp_path / name))) for name in ("one", "two"))
    pieces = {(data + bytes(-len(data) % 512))[start : start + BLOCK] for start in range(0, len(data), BLOCK)}
    assert pieces <= one & two


def test_a_new_file_leaves_the_blocks_elsewhere_as_they_were(tmp_path):
    for number in range(4000):
        path = tmp_path / f"{number % 50:02}" / f"{number:04}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number * 150)
    before = blocks_of(plan(tmp_path, block_size=64 * 1024))
    (tmp_path / "20" / "0020 and a new one").write_bytes(b"new" * 1000)
    after = blocks_of(plan(tmp_path, block_size=64 * 1024))
    kept = sum(len(block) for block in after if block in set(before))
    # In step again at the next path whose CRC-32 says so: one in 256, and these are 4,000.
    assert kept > sum(map(len, after)) * 0.75
    assert after[:5] == before[:5]
    assert after[-5:] == before[-5:]


def resident():
    """Return the bytes of memory that this process has (proc(5), `/proc/pid/statm`)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_blocks_of_one_large_hole_take_no_memory(tmp_path):
    """Of 8 TiB, a record for each block would take 670 MB."""
    size = 2**43 + 7
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(size)
    (tmp_path / "z").write_bytes(b"behind it")
    before = resident()
    planned = plan(tmp_path)
    assert resident() - before < 16 << 20
    # Its size takes a PAX header (8^11 and more).
    headers, pieces = 3 * 512, 2**24 + 1
    assert planned.block_count == pieces + 2
    assert planned.block(0) == (0, -1, 0, headers)
    for number in (0, 1, 12345, pieces - 2):
        assert planned.block(1 + number) == (0, number * BLOCK, headers + number * BLOCK, BLOCK)
    assert planned.block(pieces) == (0, 2**43, headers + 2**43, 512)
    assert planned.block(pieces + 1) == (1, -1, headers + 2**43 + 512, 2 * 512 + 1024)
    assert planned.tar_size == headers + 2**43 + 512 + 2 * 512 + 1024
    assert render(planned, 12345) == bytes(BLOCK)
    assert render(planned, pieces) == bytes(512)
    assert render(planned, pieces + 1)[512:521] == b"behind it"
    with pytest.raises(IndexError):
        planned.block(pieces + 2)


def test_what_is_asked_for_must_be_there(tmp_path):
    planned = plan(tmp_path)
    renderer = Renderer(planned)
    with pytest.raises(IndexError):
        renderer.render(1, bytearray(BLOCK))
    with pytest.raises(IndexError):
        planned.block(1)
    with pytest.raises(ValueError, match="too small"):
        renderer.render(0, bytearray(1023))
    with pytest.raises(BufferError):
        renderer.render(0, bytes(BLOCK))
    with pytest.raises(TypeError):
        renderer.render(0, "text")
    with pytest.raises(OverflowError):
        renderer.render(-1, bytearray(BLOCK))


@pytest.mark.parametrize("size", [0, 512, 1000, 1025])
def test_a_block_size_is_whole_records(tmp_path, size):
    with pytest.raises(ValueError, match="records"):
        plan(tmp_path, block_size=size)


def test_a_table_is_planned_once(tmp_path):
    table = scan(tmp_path)
    Plan(table, block_size=BLOCK)
    with pytest.raises(ValueError, match="already"):
        Plan(table, block_size=BLOCK)


def test_nothing_is_read_through_a_closed_table(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    planned = plan(tmp_path)
    renderer = Renderer(planned)
    planned.table.close()
    with pytest.raises(ValueError, match="closed"):
        renderer.render(0, bytearray(BLOCK))
    with pytest.raises(ValueError, match="closed"):
        Scanner(planned.table, compile_patterns(()), with_xattrs=True, keep_whiteouts=False)
    assert planned.table.describe(0)[0] == b"file"
