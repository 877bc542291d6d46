"""Modes as chmod(1) says them, against chmod(1)."""

from __future__ import annotations

import array
import os
import stat
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci.errors import UsageError
from fastoci.tree.chmod import mode_table, parse_chmod

CHANGES = st.tuples(
    st.text("ugoa", max_size=2),
    st.lists(
        st.tuples(st.sampled_from("-+="), st.one_of(st.text("rwxXst", max_size=3), st.sampled_from("ugo"))),
        min_size=1,
        max_size=2,
    ),
).map(lambda clause: clause[0] + "".join(operator + what for operator, what in clause[1]))
MODES = st.one_of(
    st.lists(CHANGES, min_size=1, max_size=3).map(",".join), st.integers(0, 0o7777).map(lambda mode: f"{mode:o}")
)


def apply(text, mode, *, is_directory):
    for change in parse_chmod(text):
        mode = change.apply(mode, is_directory=is_directory)
    return mode


@given(text=MODES, mode=st.integers(0, 0o7777), is_directory=st.booleans())
@settings(max_examples=80)
def test_as_chmod_does_it(tmp_path_factory, text, mode, is_directory):
    path = tmp_path_factory.mktemp("mode") / "x"
    path.mkdir() if is_directory else path.touch()
    path.chmod(mode)
    subprocess.run(["chmod", "--", text, path], check=True, umask=0)
    expected = stat.S_IMODE(os.lstat(path).st_mode)
    path.chmod(0o700)
    assert apply(text, mode, is_directory=is_directory) == expected


@pytest.mark.parametrize("text", ["755", "4755", "u=rwX,go=rX", "go-w"])
def test_the_table_is_the_same(text):
    table = array.array("H", mode_table(text))
    assert len(table) == 2 * 4096
    for mode in range(0, 4096, 7):
        assert table[mode] == apply(text, mode, is_directory=True)
        assert table[4096 + mode] == apply(text, mode, is_directory=False)


def test_five_digits_name_all_bits():
    assert apply("00755", 0o2777, is_directory=True) == 0o755
    assert apply("0755", 0o2777, is_directory=True) == 0o2755
    assert apply("0755", 0o2777, is_directory=False) == 0o755


@pytest.mark.parametrize(
    "text", ["", "8", "77777", "+", "u", "u+rw,", ",u+r", "u+q", "u=gr", "a+ug", "rw", "0x7", "u +r"]
)
def test_what_is_no_mode(text):
    if text == "+":  # of nothing nothing is added
        assert apply(text, 0o644, is_directory=False) == 0o644
        return
    with pytest.raises(UsageError, match="is no mode"):
        parse_chmod(text)
