"""`build --diff`: an image whose last layer makes a tree of what is beneath, as fastoci and umoci unpack it."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fastoci.build import build
from fastoci.building.removals import Removals
from fastoci.errors import InvalidImageError, TreeError, UsageError
from fastoci.events import Notice, Warned
from fastoci.images.documents import read_document
from fastoci.images.source import open_image
from fastoci.packlayer import pack_layer
from fastoci.tree.policy import TreePolicy
from fastoci.unpack import unpack
from fastoci.validate import validate
from imagekit import CONFIG
from oracles.changesets import copy_tree
from oracles.hostile import sparse
from oracles.longform import times
from oracles.nasty import is_root
from oracles.randomtrees import PAIRS, made
from oracles.snapshot import differences, packable, snapshot
from oracles.unpackers import excused_umoci, program, run

NUMBERS = itertools.count()

needs_root = pytest.mark.skipif(not is_root(), reason="owners other than one's own are root's to give")


def last_layer(name):
    """Return the names in an image's last layer."""
    with open_image(name) as source:
        manifest = read_document(source, source.resolve())
        with source.open_blob(manifest.layers[-1]) as blob, tarfile.open(fileobj=blob, mode="r|*") as archive:
            return [member.name + "/" * member.isdir() for member in archive]


def unpacked(name, scratch):
    target = Path(scratch) / f"unpacked-{next(NUMBERS)}"
    unpack(name, str(target))
    return target


def unpacked_by_umoci(name, scratch):
    bundle = Path(scratch) / f"umoci-{next(NUMBERS)}"
    run([program("umoci", "umoci"), "unpack", "--image", name.removeprefix("oci:"), str(bundle)])
    return bundle / "rootfs"


def check_tree(expected, found, excuse=lambda _: None):
    found_differences = differences(packable(snapshot(expected)), packable(snapshot(found)))
    assert [one for one in found_differences if excuse(one) is None] == []
    shutil.rmtree(found if found.name != "rootfs" else found.parent)


UNPACKERS = {"fastoci": (unpacked, lambda _: None), "umoci": (unpacked_by_umoci, excused_umoci)}


@needs_root
@pytest.mark.parametrize("by", UNPACKERS)
@given(pair=PAIRS)
@settings(max_examples=times(6, 120), suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_of_any_other(tmp_path_factory, by, pair):
    """Of a tree, and of an image of that tree, the layer is the same but for what only one of them knows."""
    unpack_by, excuse = UNPACKERS[by]
    scratch = tmp_path_factory.getbasetemp()
    layout = f"oci:{scratch}/layout-{next(NUMBERS)}"
    with made(pair[0]) as old, made(pair[1]) as new:
        build([old], outputs=[f"{layout}:base"])
        for tag, diff in (("of-tree", old), ("of-image", True)):
            build([new], diff=diff, base=f"{layout}:base", outputs=[f"{layout}:{tag}"])
            check_tree(new, unpack_by(f"{layout}:{tag}", scratch), excuse)
        assert last_layer(f"{layout}:of-tree") == last_layer(f"{layout}:of-image")
        build([old], diff=True, base=f"{layout}:base", outputs=[f"{layout}:same"])
        assert last_layer(f"{layout}:same") == []
    shutil.rmtree(layout.removeprefix("oci:"))


@pytest.fixture
def old(tmp_path):
    root = tmp_path / "old"
    (root / "etc/many").mkdir(parents=True)
    (root / "etc/motd").write_bytes(b"good day")
    for number in range(3):
        (root / f"etc/many/{number}").write_bytes(b"%d" % number)
    (root / "data").write_bytes(b"x" * 5000)
    os.link(root / "data", root / "etc/link")
    return root


@pytest.fixture
def new(old, tmp_path):
    """The same, changed: a file of other bytes, all of a directory gone, another name of a file less."""
    root = tmp_path / "new"
    copy_tree(old, root)
    status = os.stat(root / "etc/motd")
    (root / "etc/motd").write_bytes(b"GOOD DAY")
    os.utime(root / "etc/motd", ns=(status.st_atime_ns, status.st_mtime_ns))
    for number in range(3):
        (root / f"etc/many/{number}").unlink()
    (root / "etc/link").unlink()
    for path in ("etc", "etc/many"):
        os.utime(root / path, ns=(0, os.stat(old / path).st_mtime_ns))
    return root


CHANGED = ["etc/", "etc/.wh.link", "etc/many/", "etc/many/.wh..wh..opq", "etc/motd"]


@pytest.fixture
def image(old, tmp_path):
    build([str(old)], outputs=[f"oci:{tmp_path}/image:base"])
    return f"oci:{tmp_path}/image"


class TestForms:
    """A tree is compared with a tree, or with an image."""

    def test_with_a_tree(self, old, new, image, tmp_path):
        result = build([str(new)], diff=str(old), base=f"{image}:base", outputs=[f"{image}:new"])
        assert last_layer(f"{image}:new") == CHANGED
        assert (len(result.layers), result.layers[0].entries) == (1, 5)
        assert validate(f"{image}:new").is_valid
        check_tree(new, unpacked(f"{image}:new", tmp_path))

    def test_with_a_tree_alone(self, old, new, tmp_path):
        """The image has one layer, for whoever puts it on another one."""
        build([str(new)], diff=str(old), outputs=[f"oci:{tmp_path}/layer"])
        assert last_layer(f"oci:{tmp_path}/layer") == CHANGED

    def test_with_the_image_beneath(self, new, image, tmp_path):
        build([str(new)], diff=True, base=f"{image}:base", outputs=[f"{image}:new"])
        assert last_layer(f"{image}:new") == CHANGED
        check_tree(new, unpacked(f"{image}:new", tmp_path))

    def test_with_several_layers_beneath(self, old, new, image, tmp_path):
        """What they come to is compared: one of them is a layer packed apart, one of whiteouts."""
        (tmp_path / "more/opt/app").mkdir(parents=True)
        (tmp_path / "more/opt/app/tool").write_bytes(b"tool")
        document = tmp_path / "more.tar.gz.json"
        pack_layer(str(tmp_path / "more"), str(tmp_path / "more.tar.gz"))
        build([], base=f"{image}:base", removals=Removals.parse(["/data"], []), outputs=[f"{image}:less"])
        build([str(new)], diff=True, base=f"{image}:less", packed=[str(document)], outputs=[f"{image}:new"])
        assert last_layer(f"{image}:new") == [".wh.opt", "data", *CHANGED]
        check_tree(new, unpacked(f"{image}:new", tmp_path))

    def test_at_a_place(self, old, new, tmp_path):
        layout = f"oci:{tmp_path}/image"
        build([f"{old}:/opt/app"], outputs=[f"{layout}:base"])
        build([f"{new}:/opt/app"], diff=True, base=f"{layout}:base", outputs=[f"{layout}:new"])
        assert last_layer(f"{layout}:new") == ["opt/", "opt/app/", *(f"opt/app/{name}" for name in CHANGED)]
        check_tree(new, unpacked(f"{layout}:new", tmp_path) / "opt/app")

    def test_at_a_place_that_the_image_has_not(self, new, image):
        build([f"{new}:/opt/app"], diff=True, base=f"{image}:base", outputs=[f"{image}:new"])
        found = last_layer(f"{image}:new")
        assert {"opt/app/etc/motd", "opt/app/data"} <= set(found)
        assert not any(".wh." in name for name in found)

    def test_the_same_options_as_the_base_was_built_with(self, old, new, tmp_path):
        layout, policy = f"oci:{tmp_path}/image", TreePolicy(uid=7, gid=8, chmod="u=rwX,go=rX", patterns=("**/2",))
        build([str(old)], policy=policy, source_date_epoch=1000, outputs=[f"{layout}:base"])
        for form in (str(old), True):
            build(
                [str(new)], diff=form, policy=policy, source_date_epoch=1000, base=f"{layout}:base",
                outputs=[f"{layout}:new"],
            )  # fmt: skip
            # What the patterns leave out may be in the directory all the same: it is not opaque.
            assert last_layer(f"{layout}:new") == [
                "etc/", "etc/.wh.link", "etc/many/", "etc/many/.wh.0", "etc/many/.wh.1", "etc/motd"
            ]  # fmt: skip

    def test_the_bytes_are_the_same_every_time(self, old, new, image):
        for form in (str(old), True):
            results = [build([str(new)], diff=form, base=f"{image}:base", outputs=[f"{image}:new"]) for _ in range(2)]
            assert results[0].digest == results[1].digest


class TestEmptyLayers:
    """Where nothing differs the layer is there, and empty."""

    def test_of_a_copy(self, old, image, tmp_path):
        copy_tree(old, tmp_path / "copy")
        events = []
        build([str(tmp_path / "copy")], diff=True, base=f"{image}:base", outputs=[f"{image}:new"], sink=events.append)
        assert last_layer(f"{image}:new") == []
        assert any("nothing differs" in event.message for event in events if isinstance(event, Notice))
        assert validate(f"{image}:new").is_valid
        check_tree(old, unpacked(f"{image}:new", tmp_path))

    def test_of_a_tree_with_itself(self, old, tmp_path):
        events = []
        result = build([str(old)], diff=f"{old}/etc/..", outputs=[f"oci:{tmp_path}/layer"], sink=events.append)
        assert result.layers[0].entries == 0
        assert [event.message for event in events if isinstance(event, Warned)] == [
            f"{old} is compared with itself: its layer is empty"
        ]


class TestImages:
    """Images that are not as a build of a tree makes them."""

    def write(self, kit, *layers, kind=tarfile.PAX_FORMAT):
        tars = []
        for members in layers:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
                for info, data in members:
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
            tars.append(out.getvalue())
        kit.add(kit.image(*tars), "base")
        return f"oci:{kit}:base"

    @staticmethod
    def member(name, data=b"", **facts):
        info = tarfile.TarInfo(name)
        info.uid, info.gid = os.getuid(), os.getgid()
        for fact, value in facts.items():
            setattr(info, fact, value)
        return info, data

    def diff(self, kit, base, tree):
        build([str(tree)], diff=True, base=base, outputs=[f"oci:{kit}:new"])
        return last_layer(f"oci:{kit}:new")

    def test_a_directory_that_no_layer_has_an_entry_for(self, kit, tmp_path):
        """Its metadata is nobody's word: the layer says what it is."""
        base = self.write(kit, [self.member("a/b/file", b"1", mtime=5)])
        tree = unpacked(base, tmp_path)
        assert self.diff(kit, base, tree) == ["a/", "a/b/"]
        (tree / "a/b/file").unlink()
        assert self.diff(kit, base, tree) == ["a/", "a/b/", "a/b/.wh.file"]

    def test_links_over_layers_and_attributes_of_the_host(self, kit, tmp_path):
        attributes = {
            "SCHILY.xattr.user.note": "1",
            "SCHILY.xattr.security.selinux": "x",
            "SCHILY.xattr.trusted.y": "z",
        }
        base = self.write(
            kit,
            [
                self.member("file", b"data", mtime=5, pax_headers=attributes),
                self.member("soft", type=tarfile.SYMTYPE, linkname="file", mode=0o644, mtime=6),
            ],
            [self.member("hard", type=tarfile.LNKTYPE, linkname="file")],
        )
        tree = unpacked(base, tmp_path)
        assert self.diff(kit, base, tree) == []
        os.removexattr(tree / "file", "user.note")
        assert self.diff(kit, base, tree) == ["file", "hard"]

    @pytest.mark.skipif(not is_root(), reason="only root can make devices")
    def test_devices(self, kit, tmp_path):
        base = self.write(kit, [self.member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mtime=5)])
        tree = unpacked(base, tmp_path)
        assert self.diff(kit, base, tree) == []
        (tree / "null").unlink()
        os.mknod(tree / "null", 0o20644, os.makedev(1, 5))
        os.utime(tree / "null", (5, 5))
        assert self.diff(kit, base, tree) == ["null"]

    def test_holes_cost_nothing(self, kit, tmp_path):
        tar = sparse(b"1\n%d\n4\n" % (1 << 38), data=b"data", size=1 << 39)
        kit.add(kit.image(tar + bytes(1024)), "base")
        base = f"oci:{kit}:base"
        tree = unpacked(base, tmp_path)
        assert self.diff(kit, base, tree) == []
        status = os.stat(tree / "sparse")
        with open(tree / "sparse", "r+b") as file:
            file.seek(5)
            file.write(bytes(3))
        os.utime(tree / "sparse", ns=(0, status.st_mtime_ns))
        assert self.diff(kit, base, tree) == []

    def test_one_without_layers(self, kit, new):
        config = kit.blob(json.dumps(kit.config([])).encode(), CONFIG)
        kit.add(kit.manifest(config, []), "base")
        build([str(new)], diff=True, base=f"oci:{kit}:base", outputs=[f"oci:{kit}:new"])
        assert {"data", "etc/motd"} <= set(last_layer(f"oci:{kit}:new"))

    @pytest.mark.parametrize(
        ("facts", "cause"),
        [
            ({"uid": 2**32}, "owner"),
            ({"gid": -1}, "owner"),
            ({"mtime": 2**62}, "time"),
            ({"type": tarfile.CHRTYPE, "devmajor": -5}, "device"),
        ],
    )
    def test_what_can_be_on_no_system(self, kit, new, facts, cause):
        base = self.write(kit, [self.member("etc/odd", **facts)], kind=tarfile.GNU_FORMAT)
        with pytest.raises(InvalidImageError, match="is not valid") as caught:
            self.diff(kit, base, new)
        assert cause in caught.value.cause

    def test_a_name_that_is_too_long(self, kit, new):
        base = self.write(kit, [self.member("etc/" + "n" * 300)])
        with pytest.raises(InvalidImageError, match="on no system") as caught:
            self.diff(kit, base, new)
        assert caught.value.cause == "it has a name of 300 bytes"


class TestRefusals:
    """What has no meaning is said before anything is read."""

    def refused(self, error, *sources, **options):
        with pytest.raises(error) as caught:
            build([str(source) for source in sources], outputs=["oci:nothing"], **options)
        assert not os.path.exists("nothing")
        return caught.value

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_more_than_one_source(self, old, new):
        assert "one source" in self.refused(UsageError, new, old, diff=str(old)).what

    def test_a_tar(self, old, tmp_path):
        tarfile.open(tmp_path / "some.tar", "w").close()
        assert "is none" in self.refused(UsageError, tmp_path / "some.tar", diff=str(old)).what

    def test_one_file(self, old, new):
        assert "is none" in self.refused(UsageError, f"{new}/data:/opt/data", diff=str(old)).what

    def test_what_is_taken_away_besides(self, old, new, image):
        removals = Removals.parse(["/etc/motd"], [])
        error = self.refused(UsageError, new, diff=str(old), base=f"{image}:base", removals=removals)
        assert error.hint == "remove it from the tree"

    def test_whiteouts_that_are_meant(self, old, new):
        assert "--whiteouts" in self.refused(UsageError, new, diff=str(old), policy=TreePolicy(whiteouts="keep")).what

    def test_no_layers_below(self, new):
        assert "--from IMAGE" in self.refused(UsageError, new, diff=True).hint

    def test_a_base_that_is_no_directory(self, new, tmp_path):
        assert self.refused(TreeError, new, diff=str(new / "data")).cause == "it is no directory"
        assert self.refused(TreeError, new, diff=str(tmp_path / "none")).cause == "there is no such directory"

    def test_a_base_inside_of_the_source(self, new):
        assert "lies inside the source" in self.refused(UsageError, new, diff=str(new / "etc")).what

    def test_a_source_inside_of_its_base(self, old, tmp_path):
        """Is a tree as any other: all else of the base is gone."""
        build([str(old / "etc")], diff=str(old), outputs=[f"oci:{tmp_path}/layer"])
        assert {".wh.data", ".wh.etc", "motd"} <= set(last_layer(f"oci:{tmp_path}/layer"))


class TestCommand:
    """The command line's two forms, and what is neither."""

    def test_a_tree_against_a_tree(self, fastoci, old, new, tmp_path):
        code, out, err = fastoci("build", "--diff", old, new, "-o", f"oci:{tmp_path}/layer:1")
        assert (code, "packed" in err) == (0, True)
        assert out.startswith(f"oci:{tmp_path}/layer:1@sha256:")
        assert last_layer(f"oci:{tmp_path}/layer:1") == CHANGED

    def test_a_tree_against_an_image(self, fastoci, new, image):
        code, out, _ = fastoci("build", "--from", f"{image}:base", "--diff", new, "-o", f"{image}:1")
        assert (code, out.count("\n")) == (0, 1)
        assert last_layer(f"{image}:1") == CHANGED

    def test_a_tree_against_a_tree_on_an_image(self, fastoci, old, new, image):
        code, _, _ = fastoci("build", "--from", f"{image}:base", "--diff", old, new, "-o", f"{image}:1")
        assert code == 0
        assert last_layer(f"{image}:1") == CHANGED

    @pytest.mark.parametrize("base", [[], ["--from", "scratch"]])
    def test_a_tree_against_nothing(self, fastoci, new, base):
        code, out, err = fastoci("build", *base, "--diff", new, "-o", "oci:nothing")
        assert (code, out) == (2, "")
        assert f"error: nothing to compare {new} with" in err
        assert f"--diff BASE {new}" in err

    def test_a_vanishing_base(self, fastoci, new, tmp_path):
        code, _, err = fastoci("build", "--diff", tmp_path / "none", new, "-o", f"oci:{tmp_path}/layer")
        assert (code, "hint:" in err, "Traceback" in err) == (1, True, False)


def test_it_is_pushed_while_it_is_packed(hub, new, image):
    """And is known again: nothing is packed when nothing has changed."""
    name = f"{hub.host}/team/app:1"
    build([str(new)], diff=True, base=f"{image}:base", tags=[name], push=True)
    assert last_layer(f"docker://{name}") == CHANGED
    status = os.stat(new / "etc/motd")
    (new / "etc/motd").write_bytes(b"good day")
    os.utime(new / "etc/motd", ns=(status.st_atime_ns, status.st_mtime_ns))
    build([str(new)], diff=True, base=f"{image}:base", tags=[name], push=True)
    assert last_layer(f"docker://{name}") == CHANGED[:-1]
