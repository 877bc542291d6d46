"""Exclude patterns, as Docker has them."""

from __future__ import annotations

import os
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci._engine.plan import Plan
from fastoci.errors import StoreError, UsageError
from fastoci.tree.patterns import compile_patterns, pattern_of, read_ignorefile
from oracles.packing import entries, scan
from oracles.patternreference import excludes
from oracles.privileges import unprivileged

# What moby/patternmatcher says of one pattern and one path, its parents considered: the expectations that its own
# tests publish, and Go's for filepath.Match among them.
TABLE = [
    ("**", "file", True),
    ("**/", "file", True),
    ("**", "dir/file", True),
    ("**/**", "dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir/dir2/file", True),
    ("**/dir", "dir", True),
    ("**/dir", "dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/**", "dir/dir2/dir3/file", True),
    ("**file", "file", True),
    ("**file", "dir/file", True),
    ("**/file", "dir/file", True),
    ("**file", "dir/dir/file", True),
    ("**/file", "dir/dir/file", True),
    ("**/file*", "dir/dir/file", True),
    ("**/file*", "dir/dir/file.txt", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/file*.txt", "dir/dir/file.txt", True),
    ("**/file*.txt*", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True),
    ("**/**/*.txt2", "dir/dir/file.txt", False),
    ("**/*.txt", "file.txt", True),
    ("**/**/*.txt", "file.txt", True),
    ("a**/*.txt", "a/file.txt", True),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a**/*.txt", "a/dir/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a/*.txt", "a/file.txt", True),
    ("a/*.txt**", "a/file.txt", True),
    ("a[b-d]e", "ae", False),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aze", True),
    (".*", ".foo", True),
    (".*", "foo", False),
    ("abc.def", "abcdef", False),
    ("abc.def", "abc.def", True),
    ("abc.def", "abcZdef", False),
    ("abc?def", "abcZdef", True),
    ("abc?def", "abcdef", False),
    ("a\\\\", "a\\", True),
    ("**/foo/bar", "foo/bar", True),
    ("**/foo/bar", "dir/foo/bar", True),
    ("**/foo/bar", "dir/dir2/foo/bar", True),
    ("abc/**", "abc", False),
    ("abc/**", "abc/def", True),
    ("abc/**", "abc/def/ghi", True),
    ("**/.foo", ".foo", True),
    ("**/.foo", "bar.foo", False),
    ("a(b)c/def", "a(b)c/def", True),
    ("a(b)c/def", "a(b)c/xyz", False),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", True),
    ("abc", "abc", True),
    ("*", "abc", True),
    ("*c", "abc", True),
    ("a*", "a", True),
    ("a*", "abc", True),
    ("a*", "ab/c", True),
    ("a*/b", "abc/b", True),
    ("a*/b", "a/c/b", False),
    ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
    ("a*b?c*x", "abxbbxdbxebxczzx", True),
    ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[c]", "abc", True),
    ("ab[b-d]", "abc", True),
    ("ab[e-g]", "abc", False),
    ("ab[^c]", "abc", False),
    ("ab[^b-d]", "abc", False),
    ("ab[^e-g]", "abc", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "ab", False),
    ("a?b", "a☺b", True),
    ("a[^a]b", "a☺b", True),
    ("a???b", "a☺b", False),
    ("a[^a][^a][^a]b", "a☺b", False),
    ("[a-ζ]*", "\N{GREEK SMALL LETTER ALPHA}", True),
    ("*[a-ζ]", "A", False),
    ("a?b", "a/b", False),
    ("a*b", "a/b", False),
    ("[\\]a]", "]", True),
    ("[\\-]", "-", True),
    ("[x\\-]", "x", True),
    ("[x\\-]", "-", True),
    ("[x\\-]", "z", False),
    ("[\\-x]", "x", True),
    ("[\\-x]", "-", True),
    ("[\\-x]", "a", False),
    ("*x", "xxx", True),
]
SEVERAL = [
    (["!fileutils.go", "*.go"], "fileutils.go", True),
    (["*.go", "!fileutils.go"], "fileutils.go", False),
    (["docs", "!docs/README.md"], "docs/README.md", False),
    (["docs/", "!docs/README.md"], "docs/README.md", False),
    (["docs/*", "!docs/README.md"], "docs/README.md", False),
    (["docs", "  !docs/README.md"], "docs/README.md", False),
    (["docs", "!docs/README.md  "], "docs/README.md", False),
    (["**", "!util/docker/web"], "util/docker/web/foo", False),
    (["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", True),
    (["**", "!dist/*.whl"], "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", False),
    ([], "any/path/there", False),
]
MALFORMED = [
    "!",
    "[]a]",
    "[-]",
    "[x-]",
    "[-x]",
    "\\",
    "[a-b-c]",
    "[",
    "[^",
    "[^bc",
    "a[",
    "[]",
    "[^]",
    "[c-a]",
    "[a\\",
    "a\\",
    "![",
    "/!",
    "./!",
    "! / /",
    "a|b*",
    "x{2}?",
    "^[ab]",
]
# Beyond the published table: where patterns are anchored, and how they are cleaned (ignorefile.go, filepath.Clean).
CLEANED = [
    ("/foo", "foo", True),
    ("/foo", "dir/foo", False),
    ("foo", "dir/foo", False),
    ("./foo", "foo", True),
    ("foo/", "foo", True),
    ("foo//bar", "foo/bar", True),
    ("foo/./bar", "foo/bar", True),
    ("foo/../bar", "bar", True),
    ("  foo ", "foo", True),
    ("foo /", "foo", True),
    ("! foo", "foo", False),
    (".", "foo", False),
    ("/", "foo", False),
    ("..", "foo", False),
    ("foo", "foobar", False),
    ("foo", "foo/bar/baz", True),
    ("foo**", "foobar/x", True),
    ("#foo", "#foo", True),
    ("*/b", "a/b/c", True),
    ("*/*/c", "a/b/c", True),
    ("[^a]", "/", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), TABLE + CLEANED)
def test_one_pattern(pattern, path, expected):
    assert compile_patterns((pattern,)).excludes_path(path.encode()) is expected


@pytest.mark.parametrize(("patterns", "path", "expected"), SEVERAL)
def test_several_patterns(patterns, path, expected):
    assert compile_patterns(tuple(patterns)).excludes_path(path.encode()) is expected


@pytest.mark.parametrize("pattern", MALFORMED)
def test_malformed_patterns(pattern):
    with pytest.raises(UsageError, match="illegal exclude pattern"):
        compile_patterns((pattern,))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        (b"caf\xe9", b"caf\xe9", True),
        (b"caf?", b"caf\xe9", True),
        (b"caf??", b"caf\xe9", False),
        (b"caf*", b"caf\xe9\xe8", True),
        (b"caf[^a]", b"caf\xff", True),
        (b"caf?", "café".encode(), True),
        (b"caf??", "café".encode(), False),
        # Too long, a surrogate, cut short: each byte stands for itself.
        (b"??", b"\xc0\xaf", True),
        (b"???", b"\xed\xa0\x80", True),
        (b"??", b"\xe2\x98", True),
        (b"????", b"\xf4\x90\x80\x80", True),
        (b"?", b"\xf4\x8f\xbf\xbf", True),
        (b"[\xfd-\xff]", b"\xfe", True),
    ],
)
def test_names_that_are_not_utf8(pattern, path, expected):
    assert compile_patterns((os.fsdecode(pattern),)).excludes_path(path) is expected


PARTS = ["a", "b", "ab", ".", "*", "**", "?", "/", "/", "[a]", "[^a]", "[a-c]", "\\*", "\\+", "é", "+", "(", "$", "\\|"]
PATTERNS = st.builds(
    lambda negated, parts: "!" * negated + "".join(parts),
    st.booleans(),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=5),
).filter(lambda pattern: ".." not in pattern and pattern.lstrip("!").strip("/."))
PATHS = st.lists(st.text("ab.é*+", min_size=1, max_size=2), min_size=1, max_size=4).map("/".join)


@given(st.lists(PATTERNS, min_size=1, max_size=4), st.lists(PATHS, min_size=1, max_size=8))
@settings(max_examples=200)
def test_any_patterns_are_those_of_regular_expressions(patterns, paths):
    matcher = compile_patterns(tuple(patterns))
    for path in paths:
        assert matcher.excludes_path(path.encode()) is excludes(patterns, path), path


def test_a_pattern_of_many_stars_takes_no_time():
    # Backtracking would not see its end.
    matcher = compile_patterns(("*a" * 60 + "b", "**/a" * 60 + "b"))
    assert not matcher.excludes_path(b"a" * 250)
    assert not matcher.excludes_path(b"/".join([b"a"] * 1000))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Every path of up to three letters from a, b and c: directories of directories of files."""
    root = tmp_path_factory.mktemp("patterns")
    for first in "abc":
        for second in "abc":
            (root / first / second).mkdir(parents=True)
            for third in "abc":
                (root / first / second / third).write_bytes(b"")
    return root


LETTERS = ["a", "b", "c", "*", "**", "?", "[ab]", "[^a]"]
TREE_PATTERNS = st.builds(
    lambda negated, parts: "!" * negated + "/".join(parts),
    st.booleans(),
    st.lists(st.sampled_from(LETTERS), min_size=1, max_size=3),
)


@given(st.lists(TREE_PATTERNS, min_size=1, max_size=5))
@settings(max_examples=80)
def test_a_scan_keeps_what_is_let_in_and_the_directories_above_it(tree, patterns):
    paths = ["/".join(letters) for size in (1, 2, 3) for letters in product("abc", repeat=size)]
    kept = {path for path in paths if not excludes(patterns, path)}
    kept |= {path.rsplit("/", depth)[0] for path in kept for depth in range(1, path.count("/") + 1)}
    table = scan(tree, patterns=patterns)
    Plan(table, block_size=4096)
    assert [path.decode() for path, _, _ in entries(table)] == sorted(kept)


def test_an_excluded_directory_is_only_looked_into_for_what_may_be_let_in(tmp_path):
    for name in ("closed", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keep").write_bytes(b"")
    os.chmod(tmp_path / "closed", 0)
    os.chmod(tmp_path / "other", 0o755)
    os.chmod(tmp_path, 0o755)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with unprivileged():
            for patterns in (["closed"], ["closed", "!other"], ["*", "!other/keep"], ["clo*", "!closed2/x"]):
                table = scan(f"/proc/self/fd/{fd}", patterns=patterns)
                assert table.scanned == 2, patterns
    finally:
        os.close(fd)
        os.chmod(tmp_path / "closed", 0o700)


NAMES = st.one_of(
    st.text("*?[]\\! -#a^.b\u2003\n", min_size=1, max_size=4),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=4),
    st.binary(min_size=1, max_size=4).map(lambda name: name.translate(None, b"/\0").decode("utf-8", "surrogateescape")),
).filter(lambda name: name not in ("", ".", ".."))


@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=3))
@settings(max_examples=300)
def test_the_pattern_of_a_path_matches_it_and_none_beside_it(names, others):
    path, other = "/".join(names), "/".join(others)
    matcher = compile_patterns((pattern_of(path),))
    assert matcher.excludes_path(path.encode("utf-8", "surrogateescape"))
    if path.isprintable() and not f"{other}/".startswith(f"{path}/"):
        assert not matcher.excludes_path(other.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("var/log/app.log", "var/log/app.log"),
        ("!bang", "\\!bang"),
        ("a!", "a!"),
        ("[x]/st*r?", "\\[x\\]/st\\*r\\?"),
        ("back\\slash", "back\\\\slash"),
        (" lead/trail ", "[ ]lead/trail[ ]"),
        (" ", "[ ]"),
        ("new\nline", "new?line"),
        ("caf\udce9", "caf?"),
    ],
)
def test_the_pattern_of_a_path(path, pattern):
    assert pattern_of(path) == pattern


class TestIgnoreFile:
    """Reading an ignore file."""

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"", ()),
            (b"a\nb\n", ("a", "b")),
            (b"a\r\n\r\n  b  \r\n", ("a", "b")),
            (b"# comment\na\n #not a comment\n\\#a\n", ("a", "#not a comment", "\\#a")),
            (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ("a", "\ufeffb")),
            (b"\xef\xbb\xbf# comment\na", ("a",)),
            (b"!a\n! b\n", ("!a", "! b")),
            (b"\n\t\n \n", ()),
            (b"caf\xe9\n", ("caf\udce9",)),
            ("café".encode(), ("café",)),
        ],
    )
    def test_lines(self, tmp_path, data, expected):
        (tmp_path / "ignore").write_bytes(data)
        assert read_ignorefile(str(tmp_path / "ignore")) == expected

    def test_what_it_means(self, tmp_path):
        (tmp_path / "ignore").write_bytes(b"# all but one\n/docs/\n! docs/README.md \n**/*.pyc\n")
        matcher = compile_patterns(read_ignorefile(str(tmp_path / "ignore")))
        assert matcher.has_negations
        assert matcher.count == 3
        for path, expected in {
            b"docs": True,
            b"docs/a": True,
            b"docs/README.md": False,
            b"src/docs": False,
            b"x.pyc": True,
            b"a/b/x.pyc": True,
        }.items():
            assert matcher.excludes_path(path) is expected, path

    def test_none(self, tmp_path):
        with pytest.raises(StoreError, match="no such file") as caught:
            read_ignorefile(str(tmp_path / "ignore"))
        assert caught.value.path == str(tmp_path / "ignore")
        assert caught.value.hint == "check the path"

    def test_a_pattern_without_a_meaning_is_named_with_its_line(self, tmp_path):
        (tmp_path / "ignore").write_bytes(b"# one\n\na\n!\nb[\n")
        with pytest.raises(UsageError) as caught:
            read_ignorefile(str(tmp_path / "ignore"))
        assert caught.value.what == f"{tmp_path}/ignore:4: illegal exclude pattern '!'"
        assert caught.value.cause == "nothing follows the exclamation mark"

    def test_a_directory(self, tmp_path):
        with pytest.raises(StoreError):
            read_ignorefile(str(tmp_path))

    def test_one_of_no_bounds(self, tmp_path):
        with open(tmp_path / "ignore", "wb") as file:
            file.truncate(2**40)
        with pytest.raises(StoreError, match="4 MiB"):
            read_ignorefile(str(tmp_path / "ignore"))


def test_of_a_long_pattern_the_beginning_is_said():
    with pytest.raises(UsageError) as caught:
        compile_patterns(("a" * 10_000 + "[",))
    assert caught.value.what == f"illegal exclude pattern '{'a' * 200}'…"
