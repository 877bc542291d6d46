"""The report: its figures against the trees that were packed, its page against a parser of HTML."""

from __future__ import annotations

import html.parser
import io
import os
import tarfile

import pytest

from fastoci.build import build
from fastoci.cli.reportpage import page
from fastoci.report import make_report
from imagekit import make_tar, noise
from oracles.hostile import sparse

VOID = {"meta", "br"}
OPTIONAL_END = {"tr", "td", "th"}


class Page(html.parser.HTMLParser):
    """What a page consists of: tags with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID | OPTIONAL_END:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def image(kit):
    lower = make_tar(
        {"usr/big": noise(30_000), "usr/lib/small": b"x" * 10, "etc/gone": b"y" * 100, "etc/old": b"z" * 7}
    )
    upper = make_tar({"etc/old": b"new", "etc/.wh.gone": b""})
    kit.add(kit.image(lower, upper), "1")
    return f"oci:{kit}:1"


def test_figures(image):
    report = make_report(image, files=2)
    assert report.size == 30_000 + 10 + 3
    assert report.kinds == {"file": 3, "directory": 3}
    assert [(layer.size, layer.hidden) for layer in report.layers] == [(30_117, 107), (3, 0)]
    assert [layer.kinds for layer in report.layers] == [{"file": 4}, {"file": 1, "whiteout": 1}]
    assert report.directories == {"": (30_013, 3), "usr": (30_010, 2), "usr/lib": (10, 1), "etc": (3, 1)}
    assert report.files == (("usr/big", 30_000), ("usr/lib/small", 10))


def test_a_file_of_several_names_counts_once(tmp_path):
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "a").write_bytes(noise(1000))
    os.link(tree / "a", tree / "d/b")
    (tree / "c").symlink_to("a")
    build([str(tree)], outputs=[f"oci:{tmp_path}/layout:1"])
    report = make_report(f"oci:{tmp_path}/layout:1")
    assert (report.size, report.layers[0].size, report.layers[0].hidden) == (1000, 1000, 0)
    assert report.kinds == {"file": 2, "directory": 1, "symlink": 1}
    assert report.directories[""] == (1000, 2)


def test_the_page(image):
    found = Page(page(make_report(image)))
    assert {tag for tag, _ in found.tags} <= {
        "html", "meta", "title", "style", "h1", "h2", "p", "table", "tr", "th", "td", "code", "br", "details",
        "summary", "meter",
    }  # fmt: skip
    for text in ("/usr/big", "29.3 KiB", "usr/", "107 B", "hello", "COPY 0", "1 file, 1 whiteout"):
        assert text in found.text
    # Nothing that a browser would fetch or run.
    assert not [value for _, attributes in found.tags for name, value in attributes.items() if name in {"src", "href"}]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]


def test_names_cannot_become_html(kit):
    evil = "<script>alert(1)</script>&\"'\x1b[2J"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in (f"{evil}/x".replace("</", "<\\"), evil.replace("/", "")):
            info = tarfile.TarInfo(name)
            info.size = 9
            archive.addfile(info, io.BytesIO(b"123456789"))
    config = {"Env": [f"A={evil}"], "Labels": {evil: evil}, "User": evil, "Cmd": [evil]}
    image = kit.image(out.getvalue(), config=config, history=[{"created_by": evil}], author=evil)
    kit.add(image, "1")
    text = page(make_report(f"oci:{kit}:1"))
    assert "<script" not in text
    assert "\x1b" not in text
    found = Page(text)
    assert "<script>alert(1)" in found.text


def test_holes_are_not_read(kit):
    tar = sparse(b"1\n%d\n4\n" % (1 << 38), data=b"data", size=1 << 39)
    kit.add(kit.image(tar + bytes(1024)), "1")
    report = make_report(f"oci:{kit}:1")
    assert (report.size, report.files) == (1 << 39, (("sparse", 1 << 39),))


def test_an_image_of_nothing(kit):
    kit.add(kit.image(make_tar({})), "1")
    report = make_report(f"oci:{kit}:1")
    assert (report.size, report.files, report.directories) == (0, (), {"": (0, 0)})
    Page(page(report))


def test_the_command_line(image, fastoci, tmp_path):
    path = tmp_path / "page.html"
    assert fastoci("report", image, "-o", path, "-q") == (0, f"{path}\n", "")
    data = path.read_text()
    assert fastoci("report", image, "-o", "-", "-q")[1] == data
    assert fastoci("report", image, "-o", tmp_path / "none" / "page.html", "-q")[0] == 1
    code, _, err = fastoci("report", image, "-o", "/dev/null", "-q")
    assert (code, err) == (1, "error: cannot write /dev/null\ncause: something that is no file stands there\n")
    assert not os.path.isfile("/dev/null")
    assert fastoci("report", image, "-q")[0] == 2
    assert fastoci("report", image, "-o", "-", "--json")[0] == 2
