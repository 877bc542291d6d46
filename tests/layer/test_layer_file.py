"""One file as a source: where it comes to stand, what is said of it, and that it is read as it was scanned."""

from __future__ import annotations

import os
import random
import shutil
import socket
from dataclasses import replace

import pytest

from fastoci._engine.plan import Plan
from fastoci._engine.scanner import Scanner
from fastoci._engine.table import EntryTable
from fastoci.errors import TreeChangedError, TreeError, UsageError
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.patterns import compile_patterns
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource, is_tree
from oracles import unpackers
from oracles.clock import let_the_clock_tick
from oracles.nasty import BLOCK, CAPABILITY, is_root, mixed_data
from oracles.packing import MemorySink, entries, pack, pack_changed
from oracles.privileges import public_directory, unprivileged
from oracles.snapshot import Entry, differences, snapshot
from oracles.tarreference import Rules, write_pieces, write_tar

MADE_UP = Entry("directory", 0o755, 0, 0, 0)
AS_FOUND = Rules()


@pytest.fixture
def app(tmp_path):
    """A program, with all that a file may have; `app`, beside others that are not asked for."""
    path = tmp_path / "from" / "app"
    path.parent.mkdir()
    path.write_bytes(mixed_data(2 * BLOCK + 77, 5))
    (path.parent / ".wh.beside").write_bytes(b"")
    os.setxattr(path, "user.of", b"\0\xff=")
    if is_root():
        os.chown(path, 1000, 2**31)
        os.setxattr(path, "security.capability", CAPABILITY)
    path.chmod(0o4711)
    os.utime(path, ns=(0, 1_600_000_000_999_999_999))
    return path


def facts(path):
    """Return what there is to say of one file."""
    return snapshot(os.path.dirname(path))[os.fsencode(os.path.basename(path))]


def made_up(path):
    """Return the directories above a path of an image in which there is nothing yet."""
    parts = path.split(b"/")
    return {b"/".join(parts[:number]): MADE_UP for number in range(1, len(parts))}


def expected(app, path, above=None, rules=AS_FOUND):
    """Return the layer that has the file at `path`, beneath directories that are made up unless `above` has them."""
    entry = replace(facts(app), links=1)
    return write_tar(write_pieces({path: entry}, replace(rules, above={**made_up(path), **(above or {})})))


def placed(app, dest, **options):
    """Pack a file as `app:DEST` does."""
    source = TreeSource.parse(f"{app}:{dest}")
    assert is_tree(source)
    sink = MemorySink()
    layer = pack_tree(source, options.pop("policy", TreePolicy()), LayerOptions(threads=2, compression="none"), sink,
                      lambda event: None, options.pop("earlier", ()))  # fmt: skip
    assert not options
    return layer, bytes(sink.data)


@pytest.mark.parametrize(
    ("dest", "path"),
    [
        ("/app", b"app"),
        ("/usr/bin/tool", b"usr/bin/tool"),
        ("/usr/bin/", b"usr/bin/app"),
        ("//usr//bin/.//tool", b"usr/bin/tool"),
        ("/" + "d" * 100 + "/" + "n" * 150, b"d" * 100 + b"/" + b"n" * 150),
    ],
)
def test_where_nothing_is_yet(app, dest, path):
    layer, tar = placed(app, dest)
    assert tar == expected(app, path)
    assert layer.entries == path.count(b"/") + 1
    assert layer.newest_mtime == 1_600_000_000
    assert layer.owner == (facts(app).uid, facts(app).gid)


@pytest.fixture
def below(tmp_path):
    """A layer beneath, and what is in it."""
    root = tmp_path / "base"
    for name in ("usr/bin", "usr/lib", "opt/app/app"):
        (root / name).mkdir(parents=True)
    (root / "usr/bin").chmod(0o711)
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/lib/tool").symlink_to("../bin/real")
    (root / "usr/bin/real").write_bytes(b"the tool that was")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "usr/bin/fifo")
    return pack(root).layer, snapshot(root)


@pytest.mark.parametrize(
    ("dest", "path"),
    [
        ("/usr/bin", b"usr/bin/app"),  # there is such a directory
        ("/usr/bin/", b"usr/bin/app"),
        ("/bin", b"usr/bin/app"),  # a link to it
        ("/bin/tool", b"usr/bin/tool"),
        ("/usr/bin/real", b"usr/bin/real"),  # in the place of a file, and of what is no file
        ("/usr/bin/fifo", b"usr/bin/fifo"),
        ("/usr/lib/tool", b"usr/bin/real"),  # behind a link, as COPY writes through it
        ("/usr/bin/app/", b"usr/bin/app/app"),
        ("/usr/new/app", b"usr/new/app"),
    ],
)
def test_over_an_earlier_layer(app, below, dest, path):
    layer, base = below
    above = {one: base[one] for one in made_up(path) if one in base}
    assert placed(app, dest, earlier=[layer])[1] == expected(app, path, above)


@pytest.mark.parametrize(
    ("dest", "said", "cause"),
    [
        # Under its own name there is a directory: COPY refuses that too, and a layer would remove it.
        ("/opt/app", "the file .* cannot take the place of a directory", "the directory /opt/app/app"),
        ("/opt/", "the file .* cannot take the place of a directory", "the directory /opt/app"),
        ("/usr/bin/real/x", "leads through a file", "/usr/bin/real"),
        ("/usr/bin/real/", "leads through a file", "/usr/bin/real"),
        ("/loop", "circle", "/loop"),
        ("/.wh.app", "whiteout", ".wh."),
        ("/" + "n" * 256, "256", "255"),
    ],
)
def test_where_it_cannot_stand(app, below, dest, said, cause):
    with pytest.raises(UsageError, match=said) as caught:
        placed(app, dest, earlier=[below[0]])
    assert cause in caught.value.cause


def test_a_name_like_a_whiteouts_needs_another(app):
    """Of a tree it is refused as well; a file can be given another name."""
    with pytest.raises(UsageError, match="whiteout"):
        placed(app.with_name(".wh.beside"), "/etc/")
    assert placed(app.with_name(".wh.beside"), "/etc/plain")[0].entries == 2


@pytest.mark.parametrize(
    ("policy", "rules"),
    [
        (TreePolicy(uid=0, gid=0), Rules(uid=0, gid=0)),
        (TreePolicy(mtime=5), Rules(mtime=5)),
        (TreePolicy(mtime_limit=9), Rules(mtime_limit=9)),
        (TreePolicy(chmod="go-x,u=rw"), Rules(modes=lambda _, mode: mode & ~0o4711 | 0o600)),
        (TreePolicy(xattrs=False), Rules(xattrs=False)),
        (TreePolicy(patterns=("**",)), Rules()),
        (TreePolicy(one_file_system=True), Rules()),
    ],
)
def test_under_a_policy(app, policy, rules):
    """Patterns are for what is beneath a source; the source itself was asked for."""
    made = replace(MADE_UP, mtime_ns=(policy.mtime_limit or 0) * 10**9)
    above = dict.fromkeys(made_up(b"usr/bin/app"), made)
    assert placed(app, "/usr/bin/app", policy=policy)[1] == expected(app, b"usr/bin/app", above, rules)


@pytest.mark.parametrize("way", [0, 1, 2])
def test_every_way_of_reading_attributes_gives_the_same(app, way):
    fd = os.open(app, os.O_RDONLY)
    table = EntryTable(b"app", fd)
    os.close(fd)
    table.adopt_ancestor(b"usr", 0o755, 0, 0, 0, {})
    table.place_file(b"app")
    scanner = Scanner(table, compile_patterns(()), with_xattrs=True, keep_whiteouts=False, xattr_way=way)
    scanner.run()
    scanner.finish()
    Plan(table, block_size=BLOCK)
    (_, directory, _), (path, kind, found) = entries(table)
    assert (directory, path, kind, found["size"]) == ("directory", b"usr/app", "file", 2 * BLOCK + 77)
    assert found["xattrs"] == facts(app).xattrs
    assert table.scanned == 1
    assert table.find(b"usr/app") == (kind, found)


@pytest.mark.parametrize("data", [b"", b"x", bytes(512), random.Random(1).randbytes(512), bytes(5000), b"\x7fELF"])
def test_small_files_and_such_as_an_archive_might_begin(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    assert placed(tmp_path / "f", "/f")[1] == expected(tmp_path / "f", b"f")


def test_a_sparse_file(tmp_path):
    with open(tmp_path / "f", "wb") as file:
        file.seek(3 * BLOCK)
        file.write(b"the end")
        file.truncate(5 * BLOCK)
    assert placed(tmp_path / "f", "/f")[1] == expected(tmp_path / "f", b"f")


def test_another_name_of_it_elsewhere_does_not_matter(app):
    os.link(app, app.with_name("other"))
    os.utime(app, ns=(0, 1_600_000_000_999_999_999))
    assert placed(app, "/x/app")[1] == expected(app, b"x/app")


def test_behind_a_symbolic_link(app):
    """As with COPY: what is named is what it leads to, under the name that was given."""
    app.with_name("link").symlink_to("app")
    assert placed(app.with_name("link"), "/bin/")[1] == expected(app, b"bin/link")


def test_tar_and_umoci_unpack_it(app, tmp_path):
    blob = pack_blob(app)
    for unpack in (unpackers.gnu_tar, unpackers.bsdtar, *[unpackers.umoci] * is_root()):
        target = tmp_path / unpack.__name__
        unpack(blob, target)
        found = snapshot(target)
        assert differences({b"usr/bin/app": facts(app)}, {b"usr/bin/app": found[b"usr/bin/app"]}) == []
        assert {path: one.mode for path, one in found.items() if one.kind == "directory"} == {
            b"usr": 0o755,
            b"usr/bin": 0o755,
        }


def pack_blob(app):
    sink = MemorySink()
    pack_tree(TreeSource(str(app), "/usr/bin/app"), TreePolicy(), LayerOptions(threads=2), sink, lambda event: None)
    return bytes(sink.data)


def grow(path):
    with open(path, "ab") as file:
        file.write(b"x")


def shrink(path):
    os.truncate(path, 10)


def vanish(path):
    path.unlink()


def become_another(path):
    shutil.copy2(path, path.with_name("twin"))
    path.with_name("twin").rename(path)


def become_a_symlink(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("change", [grow, shrink, vanish, become_another, become_a_symlink])
def test_a_file_that_changes_meanwhile(app, change):
    """All of it is read from the file that was opened, and that notices when its name is taken from it."""
    let_the_clock_tick(app.parent)
    sink = MemorySink()
    with pytest.raises(TreeChangedError) as caught:
        pack_changed(app, lambda: change(app), dest="/usr/bin/app", sink=sink)
    error = caught.value
    assert (error.path, error.exit_code, error.hint) == (str(app), 1, "stop its writer, or pack a snapshot")
    assert sink.committed is None


def test_what_is_taken_for_what(tmp_path):
    (tmp_path / "file").write_bytes(b"data" * 500)
    (tmp_path / "link").symlink_to("file")
    tar = unpackers.run([unpackers.program("tar", "tar"), "-cf", "-", "file"], cwd=str(tmp_path))
    (tmp_path / "archive").write_bytes(tar.encode())
    (tmp_path / "named.tgz").write_bytes(b"no archive")
    (tmp_path / "words.gz").write_bytes(b"\x1f\x8b no archive either")
    os.mkfifo(tmp_path / "fifo")

    def taken(text):
        return is_tree(TreeSource.parse(text))

    assert taken(str(tmp_path))
    assert taken(f"{tmp_path}:/opt")
    for name in ("file", "link", "words.gz"):
        assert taken(f"{tmp_path}/{name}:/opt"), name
    # Without a place of its own in the image a file can only be an archive; one that is an archive needs none.
    for name in ("file", "link", "words.gz", "file:/", "archive:/opt", "named.tgz:/opt", "fifo", "fifo:/opt", "no:/x"):
        assert not taken(f"{tmp_path}/{name}"), name
    assert not taken("-")
    assert not taken("-:/opt")


@pytest.mark.skipif(not is_root(), reason="root becomes nobody here")
def test_a_file_that_may_not_be_read():
    with public_directory() as top:
        (top / "secret").write_bytes(b"secret")
        (top / "secret").chmod(0o600)
        with unprivileged(), pytest.raises(TreeError, match="cannot open the file") as caught:
            placed(top / "secret", "/secret")
    assert (caught.value.path, caught.value.cause) == (str(top / "secret"), "permission denied")
    assert caught.value.hint == "run as its owner or as root"


def test_what_became_something_else_before_it_was_opened(tmp_path):
    """Neither waited for nor followed: a FIFO without a writer, a socket."""
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    for name, said in (("fifo", "neither a directory nor a tar archive"), ("socket", "cannot open")):
        with pytest.raises(TreeError, match=said):
            pack_tree(
                TreeSource(str(tmp_path / name), "/x"), TreePolicy(), LayerOptions(), MemorySink(), lambda event: None
            )
