"""What differs between images: against the trees they were built of, and against layers applied the plainest way."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastoci.build import build
from fastoci.building.config import ConfigOptions
from fastoci.diff import diff
from fastoci.errors import ImageNotFoundError, InvalidImageError
from fastoci.events import CheckProgress
from fastoci.images.documents import read_document
from fastoci.images.files import FileTree, read_layer
from fastoci.images.source import open_image
from imagekit import ZSTD, LayoutKit, compress_zstd, make_tar, noise, push_by_hand
from oracles.hostile import sparse

MTIME = 1_700_000_000


def make_tree(root, files):
    """Make a tree of {path: content}, each file and directory with the same time."""
    root.mkdir(parents=True)
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    touch(root)
    return str(root)


def touch(root):
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            os.utime(os.path.join(directory, name), (MTIME, MTIME), follow_symlinks=False)
        os.utime(directory, (MTIME, MTIME))


def changes(found):
    return {change.path: change.how if change.how != "changed" else change.facts for change in found.files}


@pytest.fixture
def images(tmp_path):
    """Build an image of {path: content}, and return its name."""

    def make(name, files, prepare=lambda _: None, **options):
        tree = make_tree(tmp_path / name, files)
        prepare(tmp_path / name)
        touch(tmp_path / name)
        build([tree], outputs=[f"oci:{tmp_path}/layout:{name}"], **options)
        return f"oci:{tmp_path}/layout:{name}"

    return make


def test_nothing(images):
    a, b = images("a", {"f": b"1"}), images("b", {"f": b"1"})
    found = diff(a, b)
    assert not found
    assert (found.fields, found.files) == ((), ())
    assert found.to_json()["different"] is False


def test_files(images):
    a = images("a", {"same": b"1", "dir/gone": b"1", "dir/changed": b"1", "kind": b"1", "gone/x/y": b"1", "a-b": b""})

    def prepare(root):
        (root / "link").symlink_to("same")
        (root / "dir/changed").chmod(0o4755)
        os.link(root / "same", root / "same2")

    b = images("b", {"same": b"1", "dir/changed": b"2", "kind/now": b"1", "new/x": b"1", "a/b": b""}, prepare)
    assert changes(diff(a, b)) == {
        "a": "added",
        "a/b": "added",
        "a-b": "removed",
        "dir/changed": ("content", "mode"),
        "dir/gone": "removed",
        "gone": "removed",
        "gone/x": "removed",
        "gone/x/y": "removed",
        "kind": ("kind", "content", "mode"),
        "kind/now": "added",
        "link": "added",
        "new": "added",
        "new/x": "added",
        "same2": "added",
    }
    paths = [change.path for change in diff(a, b).files]
    assert paths == sorted(paths, key=lambda path: path.split("/"))


def test_facts(images):
    def prepare(root):
        os.setxattr(root / "x", "user.a", b"1")
        os.chown(root / "o", 5, 6)
        (root / "l").unlink()
        (root / "l").symlink_to("elsewhere")

    def link(root):
        (root / "l").unlink()
        (root / "l").symlink_to("there")

    a = images("a", {"x": b"", "o": b"", "l": b"", "t": b""}, link)
    b = images("b", {"x": b"", "o": b"", "l": b"", "t": b""}, prepare)
    found = diff(a, b)
    assert changes(found) == {"x": ("xattrs",), "o": ("owner",), "l": ("content",)}
    by_path = {change["path"]: change for change in found.to_json()["files"]}
    assert by_path["l"]["a"]["content"] == "there"
    assert by_path["x"]["b"]["xattrs"] == {"user.a": "31"}
    assert (by_path["o"]["b"]["uid"], by_path["o"]["b"]["gid"]) == (5, 6)
    assert changes(diff(a, b, ignore=["xattrs", "owner", "content"])) == {}


def test_times_and_what_does_not_matter(images, tmp_path):
    a = images("a", {"f": b"1"})
    tree = make_tree(tmp_path / "b", {"f": b"1"})
    os.utime(f"{tree}/f", (5, 5))
    b = f"oci:{tmp_path}/layout:b"
    build([tree], outputs=[b])
    assert changes(diff(a, b)) == {"f": ("mtime",)}
    assert diff(a, b, ignore=["mtime"]).files == ()


def test_fields(images):
    before = ConfigOptions(env={"A": "1", "B": "1"}, labels={"x": "1"}, user="me", cmd=["a"], annotations={"n": "1"})
    after = ConfigOptions(env={"A": "2", "C": "1"}, labels={"y": "1"}, cmd=["a"], expose=["80/tcp"])
    a, b = images("a", {"f": b""}, config=before), images("b", {"f": b""}, config=after)
    found = diff(a, b)
    assert {change.field: (change.before, change.after) for change in found.fields} == {
        "annotation n": ("1", None),
        "env A": ("1", "2"),
        "env B": ("1", None),
        "env C": (None, "1"),
        "label x": ("1", None),
        "label y": (None, "1"),
        "User": ("me", None),
        "ExposedPorts": (None, ["80/tcp"]),
    }
    assert found.files == ()


def test_layers_that_both_have_are_read_once(kit):
    shared, own = make_tar({"shared": noise(300_000)}), make_tar({"own": noise(3000)})
    a = kit.add(kit.image(shared), "a")
    b = kit.add(kit.image(shared, own), "b")
    seen = []
    found = diff(f"oci:{kit}:a", f"oci:{kit}:b", sink=seen.append)
    both, removed, added = found.layers
    assert [str(digest) for digest in both] == [kit.read(a)["layers"][0]["digest"]]
    assert removed == []
    assert [str(digest) for digest in added] == [kit.read(b)["layers"][1]["digest"]]
    assert changes(found) == {"own": "added"}
    ends = [event for event in seen if isinstance(event, CheckProgress) and event.done == event.total]
    sizes = [layer["size"] for layer in kit.read(b)["layers"]]
    assert list(dict.fromkeys(event.total for event in ends)) == sizes


def test_layers_are_not_read_where_nobody_asks(kit):
    kit.add(kit.image(make_tar({"a": b"1"})), "a")
    b = kit.add(kit.image(make_tar({"b": b"1"})), "b")
    kit.file(kit.read(b)["layers"][0]["digest"]).write_bytes(b"damaged")
    found = diff(f"oci:{kit}:a", f"oci:{kit}:b", files=False)
    assert found
    assert found.files is None
    assert found.to_json()["files"] is None


def test_a_damaged_layer_is_an_error(kit):
    kit.add(kit.image(make_tar({"a": b"1"})), "a")
    b = kit.add(kit.image(make_tar({"b": noise(4000)})), "b")
    path = kit.file(kit.read(b)["layers"][0]["digest"])
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidImageError):
        diff(f"oci:{kit}:a", f"oci:{kit}:b")


def test_members_of_an_index(kit):
    kit.add(kit.multi("amd64", "arm64"), "a")
    kit.add(kit.image(make_tar({"x": b""}), architecture="riscv64"), "b")
    from fastoci.spec.platform import Platform

    assert not diff(f"oci:{kit}:a", f"oci:{kit}:a", platform=Platform.parse("linux/arm64"))
    with pytest.raises(ImageNotFoundError):
        diff(f"oci:{kit}:a", f"oci:{kit}:b", platform=Platform.parse("linux/arm64"))


def test_holes_cost_nothing(kit):
    """And are the zeros that they read as, however the archive says where they are."""
    size, end = 1 << 38, bytes(1024)
    tars = {
        "a": sparse(b"1\n%d\n4\n" % (size // 2), data=b"data", size=size),
        "same": sparse(b"2\n4096\n9000\n%d\n4\n" % (size // 2), data=bytes(9000) + b"data", size=size),
        "other": sparse(b"1\n%d\n4\n" % (size // 2 + 1), data=b"data", size=size),
    }
    for name, tar in tars.items():
        kit.add(kit.image(tar + end), name)
    assert changes(diff(f"oci:{kit}:a", f"oci:{kit}:same")) == {}
    found = diff(f"oci:{kit}:a", f"oci:{kit}:other")
    assert changes(found) == {"sparse": ("content",)}
    assert [found.to_json()["files"][0][side]["content"] for side in "ab"] == [None, None]


def test_a_file_with_zeros_is_the_same_however_it_was_archived(kit):
    data = b"x" * 5000 + bytes(20_000) + b"y" * 3
    dense = make_tar({"sparse": data})
    kit.add(kit.image(dense), "dense")
    kit.add(kit.image(make_tar({"sparse": data[:-1] + b"z"})), "other")
    map_ = b"2\n0\n5000\n25000\n3\n"
    kit.add(kit.image(sparse(map_, data=b"x" * 5000 + b"y" * 3, size=len(data)) + bytes(1024)), "sparse")
    ignored = ["mode", "owner", "mtime"]
    assert changes(diff(f"oci:{kit}:dense", f"oci:{kit}:sparse", ignore=ignored)) == {}
    found = diff(f"oci:{kit}:dense", f"oci:{kit}:other", ignore=ignored)
    assert found.to_json()["files"][0]["a"]["content"] == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_at_a_registry_and_with_zstd(kit, hub):
    tar = make_tar({"a": noise(2000)})
    one = kit.add(kit.image(tar), "a")
    layer = kit.blob(compress_zstd(make_tar({"b": b"1"})), ZSTD)
    config = kit.blob(json.dumps(kit.config([make_tar({"b": b"1"})])).encode(), kit.read(one)["config"]["mediaType"])
    push_by_hand(kit, hub, "me/app", kit.manifest(config, [layer]), "2")
    assert changes(diff(f"oci:{kit}:a", f"{hub.host}/me/app:2")) == {"a": "removed", "b": "added"}


# --- layers, applied


def tar_of(*members):
    """Return a tar of (name, kind, what): a file's content, a link's target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, what in members:
            info = tarfile.TarInfo(name)
            info.type = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "h": tarfile.LNKTYPE, "s": tarfile.SYMTYPE}[kind]
            data = what if kind == "f" else b""
            info.size = len(data)
            info.linkname = what if kind in "hs" else ""
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def files_of(kit, *tars):
    kit.entries = [kit.image(*tars)]
    kit.write_index()
    with open_image(f"oci:{kit}") as source:
        tree = FileTree()
        for layer in read_document(source, source.resolve()).layers:
            tree.apply(read_layer(source, layer, lambda _: None))
    return {path.decode(): facts and facts.kind for path, facts in tree.walk()}


def test_whiteouts(kit):
    lower = tar_of(
        ("d/", "d", ""), ("d/a", "f", b"1"), ("d/b", "f", b"1"), ("e/", "d", ""), ("e/x", "f", b""), ("f", "f", b"")
    )
    upper = tar_of(
        ("d/new", "f", b""),
        ("d/.wh..wh..opq", "f", b""),
        (".wh.f", "f", b""),
        ("e/", "d", ""),
        ("e/.wh.none", "f", b""),
    )
    assert files_of(kit, lower, upper) == {
        "d": "directory", "d/new": "file", "e": "directory", "e/x": "file",
    }  # fmt: skip


def test_what_takes_the_place_of_something_else(kit):
    lower = tar_of(("d/", "d", ""), ("d/a", "f", b"1"), ("f", "f", b""), ("s", "s", "d"))
    upper = tar_of(("d", "f", b""), ("f/", "d", ""), ("f/x", "f", b""), ("s/", "d", ""), ("implied/x", "f", b""))
    assert files_of(kit, lower, upper) == {
        "d": "file", "f": "directory", "f/x": "file", "implied": None, "implied/x": "file", "s": "directory",
    }  # fmt: skip


def test_hard_links(kit):
    lower = tar_of(("a", "f", b"1"), ("b", "h", "a"))
    assert files_of(kit, lower, tar_of(("c", "h", "a"))) == {"a": "file", "b": "file", "c": "file"}
    with pytest.raises(InvalidImageError, match="/c is a link to nothing"):
        files_of(kit, lower, tar_of(("c", "h", "none")))


NAMES = st.lists(st.sampled_from(["a", "b", "a-b"]), min_size=1, max_size=3).map("/".join)
OPERATIONS = st.tuples(NAMES, st.sampled_from(["file", "directory", "whiteout", "opaque"]))


@given(st.lists(st.lists(OPERATIONS, max_size=5), min_size=1, max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_layers(tmp_path_factory, layers):
    """Against a flat table of paths, from which whole prefixes are struck out."""
    kit = LayoutKit(tmp_path_factory.mktemp("kit") / "layout")
    table, tars = {}, []

    def strike(prefix):
        for path in [path for path in table if path.startswith(prefix)]:
            del table[path]

    for operations in layers:
        # A path means one thing in a layer, and nothing is beneath a file of the same layer.
        chosen = {}
        for path, what in operations:
            if path not in chosen and not any(
                (what == "file" and other.startswith(f"{path}/")) or (kind == "file" and path.startswith(f"{other}/"))
                for other, kind in chosen.items()
            ):
                chosen[path] = what
        members = []
        for path, what in chosen.items():
            parent, _, name = path.rpartition("/")
            if what == "whiteout":
                members.append((f"{parent}/.wh.{name}".lstrip("/"), "f", b""))
                strike(f"{path}/")
                table.pop(path, None)
            elif what == "opaque":
                members.append((f"{path}/.wh..wh..opq", "f", b""))
                strike(f"{path}/")
        for path, what in chosen.items():
            if what not in {"file", "directory"}:
                continue
            members.append((path + "/" * (what == "directory"), what[0], b""))
            parts = path.split("/")
            for end in range(1, len(parts)):
                above = "/".join(parts[:end])
                if table.get(above) != "directory":
                    table[above] = None
            if what == "file":
                strike(f"{path}/")
            table[path] = what
        tars.append(tar_of(*members))
    assert files_of(kit, *tars) == table


# --- the command line


def test_the_command_line(images, fastoci):
    a = images("a", {"f": b"1", "gone": b"1"}, config=ConfigOptions(env={"A": "1"}))
    b = images("b", {"f": b"2", "new\x1b": b"1"}, lambda root: (root / "f").chmod(0o600))
    code, out, err = fastoci("diff", a, b, "-q")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"--- {a}  sha256:")
    assert lines[1].startswith(f"+++ {b}  sha256:")
    assert lines[2:4] == ['env A: "1" → nothing', "layers: 0 in both"]
    assert [line.partition(" sha256")[0] for line in lines[4:6]] == ["-", "+"]
    assert lines[6:] == ["files: 3", "~ /f  content, 0644 → 0600", "- /gone", "+ /new\\x1b"]
    assert fastoci("diff", a, b, "-q", "--exit-code")[0] == 3
    assert fastoci("diff", a, a, "--exit-code") == (0, "", "")
    document = json.loads(fastoci("diff", a, b, "--json", "-q", "--no-files")[1])
    assert (document["different"], document["files"]) == (True, None)
    assert fastoci("diff", a, b, "-q", "--ignore", "taste")[0] == 2


def test_names_that_are_not_utf8(tmp_path, fastoci, images):
    a = images("a", {"f": b""})
    b = images("b", {"f": b""}, lambda root: open(os.fsencode(root) + b"/\xff", "wb").close())
    assert fastoci("diff", a, b, "-q")[1].splitlines()[-1] == "+ /\\xff"
    assert json.loads(fastoci("diff", a, b, "-q", "--json")[1])["files"][0]["path"] == "\\xff"
