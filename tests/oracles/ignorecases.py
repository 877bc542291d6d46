"""Ignore files, and the tree that they are held against.

The tree has what patterns can trip over: names of one letter, dots, spaces, brackets, stars and backslashes, letters
beyond ASCII, names that begin like others, and several levels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

TREE = (
    *("/".join(letters) for letters in itertools.product(("a", "b"), ("a", "ab", "c"), ("a", "x.txt"))),
    *("file", "file.txt", "foo", "foobar", "README.md", ".env", ".git/config", ".git/objects/ab/cd", "Makefile"),
    *("docs/README.md", "docs/guide.txt", "docs/api/index.md", "docs/api/v1/README.md", "docs2/README.md"),
    *("src/main.go", "src/main_test.go", "src/pkg/x.go", "src/pkg/x.pyc", "src/pkg/deep/er/y.pyc", "src/.hidden"),
    *("node_modules/m/index.js", "web/node_modules/n/index.js", "web/index.html", "web/dist/app.js"),
    *("we ird/name", "we ird/ lead", "trail ", "[x]", "[", "]", "!bang", "#hash", "st*r", "back\\slash", "a?b", "q^"),
    *(
        "café",
        "\u03b6/\u03b1",
        "x☺y",
        "-",
        "dash-name",
        "a.b.c",
        "A/B",
        "(paren)",
        "d$",
        "p+q",
        "{br}",
        "pi|pe",
        "tab\tname",
    ),
    *("deep/1/2/3/4/5/leaf", "deep/1/keep", "same/same/same", "dir.d/f", "x/.dockerignore", "..dots/f", "...", "z..z"),
)
"""Files; their directories are there because of them."""

_SINGLE = r"""
a
b/
/a
/a/
./a
a/a
a/ab
a/./ab
a//ab
a/../b
b/../../a
..
../a
.
/
./
*
**
**/
/**
**/**
*/*
*/*/*
**/*
**/*/*
a*
a**
**a
*a
/*a
a/*
a/**
a/**/
a/**/a
a/*/a
**/a
**/a/
/**/a
**/a/**
**/ab/*
**/ab/**
**/ab
**ab
ab
**/x.txt
**x.txt
*.txt
**/*.txt
**/*txt
*/*.txt
**.txt
**/**/*.txt
file*
file**
file?txt
file.???
f??e
?
??
???
?oo
foo
foo*
foo**
**foo
**/foo*
**oo**
fo[o]
fo[^a]
fo[!a]
f[a-z]o
[a-f]oo
[^a-e]oo
[]
[a
[]a]
[^]
[a-]
[-a]
[\-]
[\]]
[[]
\[x\]
\[
[[]x[]]
[[]x\]
\]
]
!bang
\!bang
[!]bang
#hash
\#hash
[#]hash
st*r
st\*r
st[*]r
back\slash
back\\slash
back\\\\slash
back*slash
back[\\]slash
a\?b
[[:alpha:]]
[[:upper:]]*
[[:digit:]]
deep/[[:digit:]]
deep/\d
deep/\D
\w
\W
\w\w\w
[\w]
[^\w]
[[:foo:]]
[[:alpha:]b]*
\a
\file
\b
\.env
\docs2
docs\d
tab\tname
tab[\t]name
f[*]o
f[a*]o
a[?]b
a?b
q^
q[\^]
q[^x]
caf?
caf??
caf*
café
caf[é]
x?y
x[☺]y
x☺y
-
[--]
dash-name
dash[-]name
dash[a-]name
dash?name
a.b.c
a.b*
a?b?c
.*
.*/
.g*
.git
.git/
.git/*
.git/**
.git/obj*
**/.git
**/.*
**/.h*
.
.env
?env
*env
*/.hidden
A
A/b
[A-Z]*
[a-z]*
(paren)
(*)
d$
d\$
p+q
p\+q
{br}
{br,foo}
pi|pe
foo|file
we ird
we ird/*
we\ ird
we ird/ lead
we ird / lead
trail
"foo"
'foo'
tab	name
docs
docs/
docs/*
docs/**
docs/*/*
docs/*/v1
docs/**/README.md
docs*
docs*/README.md
docs?
docs/api/..
docs/api/../guide.txt
*/README.md
**/README.md
README*
README.md/
README.md/*
src/**/*.pyc
src/*/*.pyc
**/*.pyc
**/er
**/er/
**/er/**
**/deep
**/deep/**/y.pyc
deep/**/leaf
deep/**/5
deep/**
deep/*/2
deep/*/*/3
deep/1/2/3/4/5/leaf
deep/*/*/*/*/*/leaf
deep/*/*/*/*/leaf
node_modules
**/node_modules
**/node_modules/**
*/node_modules
web/**/index.*
web/*/index.*
same
same/same
**/same
**/same/same
same/**/same
dir.d
dir.d/
dir?d
*.d
**/*.d/**
x/.dockerignore
**/.dockerignore
..dots
..dots/f
..*
...
....
z..z
z**z
z*z
a**/x.txt
a**x.txt
a/**x.txt
a/**/**/x.txt
**/a/**/x.txt
*/**/x.txt
*/ab/**
a*b*c
a***b
***
****
***/a
**/***
foo|*.txt
pi|p*
pi\|p*
[|]*
p[i]|pe
{br}*
{b,r}*
a{1}*
a{1,}*
a{1,2}?
a{01}*
a\{1}*
{br}{0}*
q^*
^a*
q\^*
dash[-_]name
dash*[-_]name
das*[-_]name
das*[_-]name
das*[a-]name
das*[+--]name
das*[a-b-c]name
*[]]*
b*[]]*
[x*[]]
\[x*[]]
foo*[]b]ar
fo*[^]x]bar
foo*[z-a]
foo*[
foo*\
.*[-h]*
?*[-h]*
das?[-a]name
x\☺y
x[\☺]y
[\q]*
[\d-x]*
[a-\d]*
[[:^alpha:]]*
[[:alpha]*
[[:]*
\_
\-
"""

_SEVERAL = (
    "docs\n!docs/README.md",
    "docs/\n!docs/README.md",
    "docs/*\n!docs/README.md",
    "docs/**\n!docs/README.md",
    "docs\n!docs/api",
    "docs\n!docs/api/v1/README.md",
    "docs\n!**/README.md",
    "docs\n!*/README.md",
    "docs\n!docs/*",
    "docs\n!docs/**",
    "docs\n!docs",
    "!docs\ndocs",
    "docs\n!docs\ndocs/api",
    "docs/api\n!docs",
    "docs\n!docs/api\ndocs/api/v1",
    "docs\n!docs/api\ndocs/api/v1\n!docs/api/v1/README.md",
    "*\n!docs",
    "*\n!docs/",
    "*\n!/docs",
    "*\n!docs/*",
    "*\n!docs/api",
    "*\n!*/README.md",
    "*\n!**/README.md",
    "*\n!*.md",
    "*\n!src\nsrc/**/*.pyc",
    "*\n!src/**\n**/*.pyc",
    "**\n!src",
    "**\n!src/pkg",
    "**\n!src/pkg/x.go",
    "**\n!**/x.go",
    "**\n!**/*.go\nsrc/main_test.go",
    "**/*\n!docs",
    "*/*\n!docs/api",
    "*/*\n!*/*/v1",
    "a\n!a/ab",
    "a\n!a/ab\na/ab/a",
    "a/*\n!a/ab",
    "a/**\n!a/ab",
    "a/**\n!a/ab/**",
    "a/ab\n!a",
    "a/ab/a\n!a/ab",
    "**/a\n!a/a",
    "**/a\n!b",
    "**/x.txt\n!b/**",
    "**/x.txt\n!b/*/x.txt",
    "[ab]\n!b/c",
    "?\n!b",
    ".*\n!.env",
    ".*\n!.git/config",
    ".git\n!.git/objects/*/cd",
    "deep\n!deep/1/keep",
    "deep\n!deep/**/leaf",
    "deep\n!deep/1/2\ndeep/1/2/3/4",
    "deep/**\n!deep/1/2/3/**",
    "same/same\n!same/same/same",
    "same\n!**/same",
    "node_modules\n!node_modules/m",
    "**/node_modules\n!web/node_modules",
    "*.txt\n!file.txt",
    "!file.txt\n*.txt",
    "*.txt\n!file.txt\nfile*",
    "foo*\n!foobar",
    "foo**\n!foobar",
    "!foo",
    "!*",
    "!**",
    "**\n!**",
    "*\n!*",
    "*\n!.",
    "*\n!/",
    "! docs\ndocs",
    "!/ ///",
    "docs\n!/ docs/README.md",
    "*\n!d*[-o]cs",
    "*\n!fo*[b-]ar",
    "/!bang",
    "*\n./!docs",
    "*\n\\!bang\n/!!bang",
    "docs\n! docs/README.md ",
    "docs\n  !docs/README.md",
    "docs\n!  docs/README.md",
    "docs\n!./docs/README.md",
    "docs\n!/docs/README.md/",
    "docs\n!!docs/README.md",
    "docs\n\\!docs/README.md",
    "!",
    "docs\n!",
    "# docs\nsrc",
    " # docs\nsrc",
    "#docs",
    "docs # not a comment",
    "  docs  ",
    "\tdocs\t",
    "docs\r\nsrc\r\n",
    "docs\r\n\r\n!docs/README.md\r\n",
    "\n\n\ndocs\n\n",
    "",
    "\n",
    "   \n\t\n",
    "\ufeffdocs",
    "\ufeff# docs\nsrc",
    "\ufeff!docs\n*",
    "docs\n\ufeffsrc",
    "docs\x00",
    "docs\x0bsrc",
    "docs\xa0",
    "docs\u2003",
    "docs\n[a\n!src",
    "[c-a]",
    "a\\",
    "!a\\",
    "a[\\",
    "a[b-",
    "trail\\ ",
    "\u03b6",
    "\u03b6/**",
    "*/\u03b1",
    "[\u03b1-\u03c9]",
    "caf[\u00e0-\u00fc]",
    "caf\u00e9\n!**/\u03b1",
    "\u03b6\n!\u03b6/\u03b1",
)

CASES: tuple[str, ...] = tuple(dict.fromkeys((*_SINGLE.strip("\n").split("\n"), *_SEVERAL)))
"""The texts of the ignore files."""


def make_tree(root: Path) -> None:
    """Make the tree, of empty files."""
    for name in TREE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def with_directories(files: Iterable[str]) -> set[str]:
    """Return paths and the directories that are there because of them."""
    found: set[str] = set()
    for path in files:
        parts = path.split("/")
        found |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return found


def left_out(kept: Iterable[str]) -> list[str]:
    """Return what of the tree is not kept; of a directory that is gone with all that is in it, its own path alone."""
    gone = with_directories(TREE) - with_directories(kept)
    return sorted(path for path in gone if path.rpartition("/")[0] not in gone)
