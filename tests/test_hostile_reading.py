"""What strangers wrote is read, or refused in words: a corpus of archives, and changed ones and documents by seeds.

`python -m oracles.fuzzreading` does the same for as long as it is given.
"""

from __future__ import annotations

import os

import pytest

from oracles.fuzzreading import MEMORY, archive, image_of, peak_memory, read_corpus, run_round
from oracles.hostile import ARCHIVES
from oracles.longform import times

ROUNDS = times(300, 20_000)
FIRST = int(os.environ.get("FASTOCI_TESTS_SEED", "0"))


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_of_the_corpus(name):
    """As a layer, as an archive of images, and as a source: each ends as it is declared."""
    read_corpus(name)


# Archives that are strange, and can be unpacked as other tools do, or with a warning; every other one is refused.
TAKEN = {
    "nothing",
    "a time long ago",
    "a time with a long fraction",
    "a PAX key that is not UTF-8",
    "PAX after PAX",
    "global PAX",
    "two thousand records",
    "a GNU long name after another",
    "a GNU long name of nothing",
    "a name that is not UTF-8",
    "a name of control characters",
    "an absolute name",
    "a path of 700 directories",
    "directories deeper and deeper",
    "a directory that becomes a link",
    "the root as a file",
    "a mode of large number",
    "a sparse map of a megabyte",
    "an attribute without a name",
    "an attribute with a NUL",
    "an attribute with a long name",
    "an attribute of half a megabyte",
    "a broken capability",
    "a broken ACL",
    "a whiteout of a whiteout",
    "a whiteout through a link",
    "an opaque link",
    "zeros and then more",
    "nothing but zeros",
    "2,000 files of one name",
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_the_command_says(fastoci, tmp_path, name):
    image = image_of(archive(name), tmp_path / "layout")
    code, out, err = fastoci("unpack", image, tmp_path / "root", "--platform", "linux/amd64", "--progress", "none")
    assert (code == 0) == (name in TAKEN)
    assert out == "" or code == 0
    if code:
        lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
        assert code == (3 if lines[0].startswith("error: the layer") else 1)
        assert lines[0].startswith(("error: the layer sha256:", f"error: cannot unpack {tmp_path}/root/"))
        assert all(line.startswith(("error: ", "cause: ", "hint:  ")) for line in lines)
        assert any(line.startswith("cause: ") for line in lines)
        assert not (tmp_path / "root").exists()
    assert sorted(os.listdir(tmp_path)) == sorted({"home", "layout", *(["root"] if code == 0 else [])})


def test_changed_archives_and_documents():
    before = peak_memory()
    for number in range(FIRST, FIRST + ROUNDS):
        try:
            run_round(number)
        except BaseException as error:
            error.add_note(f"round {number}: python -m oracles.fuzzreading --round {number}")
            raise
    assert peak_memory() - before < MEMORY
