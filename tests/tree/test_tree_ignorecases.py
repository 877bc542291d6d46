"""Ignore files against what BuildKit's client and docker's own made of them, recorded (`record_ignorecases.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastoci._engine.plan import Plan
from fastoci.errors import UsageError
from fastoci.tree.patterns import read_ignorefile
from oracles.ignorecases import CASES, left_out, make_tree
from oracles.packing import entries, scan

RECORDED = json.loads((Path(__file__).parent / "ignorecases.json").read_text())
BY_TEXT = {record["ignore"]: record for record in RECORDED["cases"]}

# A star or a question mark ends a class, to BuildKit; beside wildcards a `|`, a `^`, a `{1}`, a `\b` and a backslash at
# the end are a regular expression's. They mean something that nobody would write, so that it is better said than done.
REFUSED = {
    *("st[*]r", "a[?]b", "f[*]o", "f[a*]o", "[x*[]]"),
    *("foo|*.txt", "pi|p*", "p[i]|pe"),
    *("q^*", "^a*"),
    *("a{1}*", "a{1,}*", "a{1,2}?", "{br}{0}*"),
    *("\\b", "foo*\\", "[[:^alpha:]]*"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("ignorecases")
    make_tree(root)
    return root


def test_the_table_is_that_of_the_cases():
    assert [record["ignore"] for record in RECORDED["cases"]] == list(CASES)
    assert len(CASES) >= 350
    assert sum(record["buildkit"] is None for record in RECORDED["cases"]) > 10
    assert len({json.dumps(record["buildkit"]) for record in RECORDED["cases"]}) > 120


@pytest.mark.parametrize("ignore", CASES)
def test_it_is_what_buildkit_leaves_out(ignore, tree, tmp_path):
    file = tmp_path / "ignore"
    file.write_bytes(ignore.encode())
    expected = None if ignore in REFUSED else BY_TEXT[ignore]["buildkit"]
    if expected is None:
        with pytest.raises(UsageError, match="illegal exclude pattern") as caught:
            read_ignorefile(str(file))
        assert caught.value.what.startswith(f"{file}:")
        return
    table = scan(tree, patterns=list(read_ignorefile(str(file))))
    Plan(table, block_size=4096)
    assert left_out(path.decode() for path, _, _ in entries(table)) == expected


def test_docker_itself_leaves_out_the_same_but_where_it_does_not_look():
    others = {
        record["ignore"]
        for record in RECORDED["cases"]
        if "docker 28.2.2" in record and record["docker 28.2.2"] != record["buildkit"]
    }
    assert len(others) < 10
    assert all("\n!" in ignore and "*" in ignore.partition("!")[2] for ignore in others)
