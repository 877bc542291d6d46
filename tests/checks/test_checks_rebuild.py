"""`validate --rebuild`: an image is what its trees give, or what differs is named."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from fastoci.build import build
from fastoci.checks.rebuild import rebuild
from fastoci.errors import FastociError, ImageNotFoundError, InvalidImageError, TreeError, UsageError
from fastoci.images.source import open_image
from fastoci.layer.options import LayerOptions, Split
from fastoci.registry.options import RegistryOptions
from fastoci.tree.policy import TreePolicy
from imagekit import TAR, LayoutKit, make_tar, noise

TIME = 1_700_000_000


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc/motd").write_text("welcome")
    (root / "etc/issue").write_text("issue")
    (root / "data").write_bytes(noise(1_500_000))
    (root / "words").write_text("".join(f"{number * number} words\n" for number in range(20_000)))
    os.symlink("etc/motd", root / "link")
    for path in (*root.rglob("*"), root):
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    return root


def messages(found):
    return [f"{one.severity} {one.path} {one.message}" for one in found]


def built(tree, layout, **options):
    build([str(tree)], outputs=[f"oci:{layout}"], **options)
    return f"oci:{layout}"


@pytest.mark.parametrize(
    "layer", [LayerOptions(), LayerOptions(level=2), LayerOptions(compression="zstd"), LayerOptions(compression="none")]
)
def test_an_image_is_what_its_tree_gives(layer, tree, tmp_path):
    image = built(tree, tmp_path / "image", layer=layer)
    assert rebuild(image, [str(tree)], layer=layer) == ()


def test_another_level_is_another_blob_of_the_same_tar(tree, tmp_path):
    image = built(tree, tmp_path / "image", layer=LayerOptions(level=2))
    (found,) = messages(rebuild(image, [str(tree)]))
    assert found.startswith(f"error layers/0 {tree} gives the same tar, and another blob of it: sha256:")


def test_what_differs_is_named(tree, tmp_path):
    image = built(tree, tmp_path / "image")
    os.chmod(tree / "etc/motd", 0o600)
    (tree / "etc/issue").write_text("Issue")
    os.utime(tree / "etc/issue", (TIME, TIME))
    (tree / "new").touch()
    (tree / "link").unlink()
    os.symlink("data", tree / "link")
    os.utime(tree / "link", (TIME, TIME), follow_symlinks=False)
    os.setxattr(tree / "data", "user.note", b"yes")
    found = messages(rebuild(image, [str(tree)]))
    assert [one.partition(" in the image")[0] for one in found][:1] == ["error layers/0 data: extended attributes none"]
    assert found[0].endswith("user.note=yes in the tree")
    assert found[1].startswith("error layers/0 etc/issue: content sha256:")
    assert found[2] == "error layers/0 etc/motd: mode 0644 in the image, 0600 in the tree"
    assert found[3] == "error layers/0 link: target etc/motd in the image, data in the tree"
    assert found[4] == "error layers/0 new: only in the tree"
    assert len(found) == 5


def test_of_many_differences_some_are_named(tree, tmp_path):
    image = built(tree, tmp_path / "image")
    for number in range(50):
        (tree / f"new{number:02}").touch()
    found = messages(rebuild(image, [str(tree)]))
    assert found[-1] == "error layers/0 40 more entries differ"
    assert len(found) == 11


def test_the_options_of_the_build_count(tree, tmp_path):
    policy = TreePolicy(uid=7, gid=8, patterns=("etc/issue",))
    image = built(tree, tmp_path / "image", policy=policy, source_date_epoch=1000)
    assert rebuild(image, [str(tree)], policy=policy, source_date_epoch=1000) == ()
    found = messages(rebuild(image, [str(tree)], policy=policy))
    assert f"error layers/0 data: time 1000 in the image, {TIME} in the tree" in found


def test_only_the_topmost_layers_on_a_base(tree, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    base = built(tree, tmp_path / "base")
    sources = [f"{tmp_path}/other:/etc/deep", str(tree)]
    build(sources, outputs=[f"oci:{tmp_path}/image"], base=base)
    assert rebuild(f"oci:{tmp_path}/image", sources) == ()
    assert rebuild(f"oci:{tmp_path}/image", [str(tree), *sources]) == ()
    assert rebuild(f"oci:{tmp_path}/image", [sources[1]]) == ()
    assert rebuild(f"oci:{tmp_path}/image", [str(tree), str(tree)]) != ()
    with pytest.raises(UsageError, match=r"4 sources, and .* has 3 layers"):
        rebuild(f"oci:{tmp_path}/image", [str(tree)] * 4)


def test_one_file_is_compared_too(tree, tmp_path):
    source = f"{tree}/words:/srv/"
    build([source], outputs=[f"oci:{tmp_path}/image"])
    assert rebuild(f"oci:{tmp_path}/image", [source]) == ()
    assert messages(rebuild(f"oci:{tmp_path}/image", [f"{tree}/words:/srv/other"])) == [
        "error layers/0 srv/other: only in the tree",
        "error layers/0 srv/words: only in the image",
    ]
    os.truncate(tree / "words", 7)
    os.utime(tree / "words", (TIME, TIME))
    (found,) = messages(rebuild(f"oci:{tmp_path}/image", [source]))
    assert found.startswith("error layers/0 srv/words: size ")
    assert " in the image, 7 in the tree; content sha256:" in found


def test_a_tar_archive_is_compared_too(tree, tmp_path):
    (tmp_path / "a.tar").write_bytes(make_tar({"a": b"1", "b": b"2"}))
    (tmp_path / "b.tar").write_bytes(make_tar({"b": b"2", "a": b"1"}))
    image = built(tmp_path / "a.tar", tmp_path / "image")
    assert rebuild(image, [str(tmp_path / "a.tar")]) == ()
    (found,) = messages(rebuild(image, [str(tmp_path / "b.tar")]))
    assert found.endswith("b.tar, written in other headers or another order")


# Split trees.


@pytest.fixture
def many(tmp_path):
    """A tree of some directories with files in each, and hard links between them."""
    root = tmp_path / "many"
    for number in range(60):
        file = root / f"d{number % 6}" / f"{number:02}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(noise(number * 91 % 9000, number))
    os.link(root / "d0/00", root / "d5/zero")
    for path in root.rglob("*"):
        os.utime(path, (TIME, TIME))
    return root


@pytest.mark.parametrize("split", [Split(count=5), Split(size=40_000), Split(count=1)], ids=str)
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_split_image_is_what_its_tree_gives(split, compression, many, tmp_path):
    """How it was split is in its history; said again, it is the same."""
    layer = LayerOptions(compression=compression)
    image = built(many, tmp_path / "image", split=split, layer=layer)
    assert rebuild(image, [str(many)], layer=layer) == ()
    assert rebuild(image, [str(many)], layer=layer, split=split) == ()


def test_what_differs_of_a_split_tree_is_named_where_it_is(many, tmp_path):
    image = built(many, tmp_path / "image", split=Split(count=5))
    os.chmod(many / "d0/06", 0o600)
    os.chmod(many / "d5/59", 0o600)
    (many / "d3/33").unlink()
    (many / "d2/new").touch()
    os.utime(many / "d3", (TIME, TIME))
    os.utime(many / "d2", (TIME + 1, TIME))
    os.utime(many / "d2", (TIME, TIME))
    found = messages(rebuild(image, [str(many)]))
    last = len(layers_in(image)) - 1
    assert f"error layers/{last} d5/59: mode 0644 in the image, 0600 in the tree" in found
    assert "error layers/0 d0/06: mode 0644 in the image, 0600 in the tree" in found
    assert f"error layers/0-{last} d2/new: only in the tree" in found
    assert [one for one in found if one.endswith("d3/33: only in the image")]
    assert len(found) == 4


def test_the_time_of_a_directory_in_several_layers(many, tmp_path):
    """It is in the last of them alone, and there it counts."""
    os.utime(many, (TIME, TIME))
    image = built(many, tmp_path / "image", split=Split(size=10_000))
    assert rebuild(image, [str(many)]) == ()
    os.utime(many / "d4", (TIME + 5, TIME + 5))
    (found,) = messages(rebuild(image, [str(many)]))
    assert found.endswith(f"d4/: time {TIME} in the image, {TIME + 5} in the tree")


def test_divided_otherwise(many, tmp_path):
    """Said to have been split otherwise than it was, it is another image of the same entries."""
    image = built(many, tmp_path / "image", split=Split(count=5))
    (found,) = messages(rebuild(image, [str(many)], split=Split(count=3)))
    assert found.startswith("error layers/0-")
    assert "the entries are those of" in found
    assert "divided otherwise" in found


def test_split_trees_beside_others_and_above_a_base(many, tree, tmp_path):
    base = built(tree, tmp_path / "base")
    sources = [f"{many}:/srv", f"{tree}:/opt/x"]
    image = f"oci:{tmp_path}/image"
    build(sources, outputs=[image], base=base, split=Split(count=4))
    assert rebuild(image, sources) == ()
    assert rebuild(image, sources, base=base) == ()
    assert rebuild(image, [sources[1]]) == ()
    assert rebuild(image, [str(tree), *sources]) == ()
    with pytest.raises(UsageError, match=r"4 sources, and .* layers"):
        rebuild(image, [str(tree), *sources, sources[1]])


def test_a_history_that_does_not_fit(many, tmp_path):
    """Which layers are of one tree is not guessed."""
    image = built(many, tmp_path / "image", split=Split(count=4))
    count = len(layers_in(image))
    for number, (text, cause) in enumerate(
        (
            (f"COPY . / # fastoci --split 4 1/{count}", f"part 1 of {count}"),
            (f"COPY . /opt # fastoci --split 4 {count}/{count}", f"part {count} of {count}"),
            ("RUN true", "the image's history says nothing"),
        )
    ):
        retold = retell(image, tmp_path / f"retold{number}", [text])
        with pytest.raises(FastociError, match="cannot tell which layers of") as caught:
            rebuild(retold, [str(many)], split=Split(count=4))
        assert cause in caught.value.cause


def test_what_is_no_split_of_a_history(many, tmp_path):
    """A number that no split can have is the history's own affair: the layer is then one like any other."""
    image = built(many, tmp_path / "image")
    for text in ("--split 0 1/1", "--split 5 2/1", "--split 5 0/0", "--split 9999999999999999 1/1"):
        assert (
            rebuild(retell(image, tmp_path / text.replace("/", "-"), [f"COPY . / # fastoci {text}"]), [str(many)]) == ()
        )


# Layers of changes.


@pytest.fixture
def changed(tree, tmp_path):
    """The tree, of which a file is another and one is gone."""
    root = tmp_path / "changed"
    shutil.copytree(tree, root, symlinks=True)
    (root / "etc/issue").unlink()
    (root / "etc/motd").write_text("good day")
    return root


def test_what_a_tree_changes_of_another(tree, changed, tmp_path):
    image = f"oci:{tmp_path}/image"
    build([str(changed)], diff=str(tree), outputs=[image])
    assert rebuild(image, [str(changed)], diff=str(tree)) == ()
    (changed / "etc/motd").chmod(0o600)
    (found,) = messages(rebuild(image, [str(changed)], diff=str(tree)))
    assert found == "error layers/0 etc/motd: mode 0644 in the image, 0600 in the tree"


def test_what_a_tree_changes_of_the_layers_beneath(tree, changed, tmp_path):
    base, image = built(tree, tmp_path / "base"), f"oci:{tmp_path}/image"
    build([str(changed)], diff=True, base=base, outputs=[image])
    assert rebuild(image, [str(changed)], diff=True) == ()
    assert rebuild(image, [str(changed)], diff=True, base=base) == ()
    (changed / "new").touch()
    assert [one for one in messages(rebuild(image, [str(changed)], diff=True)) if one.endswith("new: only in the tree")]


def test_a_layer_of_changes_is_not_taken_for_a_whole_one(tree, changed, tmp_path):
    """The history says which it is, and neither is compared with the other."""
    base, image = built(tree, tmp_path / "base"), f"oci:{tmp_path}/image"
    build([str(changed)], diff=True, base=base, outputs=[image])
    with pytest.raises(UsageError, match="what a tree changes of another, by its history") as caught:
        rebuild(image, [str(changed)])
    assert "--diff BASE --rebuild" in caught.value.hint
    with pytest.raises(UsageError, match="all of a tree, by its history"):
        rebuild(base, [str(changed)], diff=str(tree))
    with pytest.raises(UsageError, match="nothing to compare"):
        rebuild(base, [str(changed)], diff=True)
    with pytest.raises(UsageError, match="does not go with --diff"):
        rebuild(image, [str(changed)], diff=True, split=Split(count=2))


def test_the_base_is_compared_too(tree, changed, tmp_path):
    base, other = built(tree, tmp_path / "base"), built(changed, tmp_path / "other")
    image = f"oci:{tmp_path}/image"
    build([f"{changed}:/a", f"{changed}:/b"], base=base, outputs=[image])
    assert rebuild(image, [f"{changed}:/a", f"{changed}:/b"], base=base) == ()
    (found,) = messages(rebuild(image, [f"{changed}:/b"], base=base))
    assert found.startswith("unchecked layers/1 it is neither of oci:")
    (found,) = messages(rebuild(image, [f"{changed}:/a", f"{changed}:/b"], base=other))
    assert found.startswith("error layers/0 it is sha256:")
    (found,) = messages(rebuild(base, [str(tree)], base=other))
    assert found.startswith("error layers 0 are beneath those of the sources, and oci:")


def layers_in(image):
    with open_image(image, RegistryOptions()) as source:
        return json.loads(source.read_manifest(source.resolve()))["layers"]


def retell(image, directory, texts):
    """Return a copy of an image whose history says other things of its topmost layers."""
    old, kit = Path(image.removeprefix("oci:")), LayoutKit(directory)
    shutil.copytree(old / "blobs", directory / "blobs", dirs_exist_ok=True)
    [entry] = json.loads((old / "index.json").read_text())["manifests"]
    manifest = kit.read(entry)
    config = kit.read(manifest["config"])
    for step, text in zip(config["history"][-len(texts) :], texts, strict=True):
        step["created_by"] = text
    written = kit.blob(json.dumps(config).encode(), manifest["config"]["mediaType"])
    kit.add(kit.document({**manifest, "config": written}), "retold")
    return f"oci:{directory}:retold"


# What goes wrong.


def test_what_cannot_be_compared(tree, tmp_path, kit):
    image = built(tree, tmp_path / "image")
    threads = threading.active_count()
    with pytest.raises(UsageError, match="stdin"):
        rebuild(image, ["-"])
    for missing in (f"{tmp_path}/none", f"{tmp_path}/none:/opt"):
        with pytest.raises(TreeError, match=r"cannot read .*/none"):
            rebuild(image, [missing])
    with pytest.raises(ImageNotFoundError):
        rebuild(f"oci:{tmp_path}/image:none", [str(tree)])
    tar = make_tar({"a": b"1"})
    layer = kit.blob(tar[:700], TAR)
    config = kit.blob(json.dumps(kit.config([tar])).encode(), "application/vnd.oci.image.config.v1+json")
    kit.add(kit.manifest(config, [layer]))
    with pytest.raises(InvalidImageError, match="not what the config says"):
        rebuild(str(kit), [str(tree)])
    assert threading.active_count() == threads


def test_the_command(fastoci, tree, tmp_path):
    image = built(tree, tmp_path / "image")
    code, said, _ = fastoci("validate", image, "--rebuild", tree)
    assert (code, said.count("\n")) == (0, 1)
    os.chmod(tree / "data", 0o755)
    code, said, _ = fastoci("validate", image, "--rebuild", tree)
    assert code == 3
    assert said.startswith("error: layers/0: data: mode 0644 in the image, 0755 in the tree\n")
    assert "not valid: 1 error" in said
    code, _, told = fastoci("validate", image, "--platform", "linux/amd64")
    assert (code, "--rebuild" in told) == (2, True)


def test_the_command_and_other_layers(fastoci, many, tree, changed, tmp_path):
    image = built(many, tmp_path / "split", split=Split(count=4))
    assert fastoci("validate", image, "--rebuild", many)[0] == 0
    assert fastoci("validate", image, "--rebuild", many, "--split", "4")[0] == 0
    base, image = built(tree, tmp_path / "base"), f"oci:{tmp_path}/image"
    build([str(changed)], diff=True, base=base, outputs=[image])
    assert fastoci("validate", image, "--diff", changed, "--from", base)[0] == 0
    code, said, _ = fastoci("validate", image, "--diff", tree)
    assert (code, "not valid" in said) == (3, True)
    code, _, told = fastoci("validate", image, "--rebuild", changed)
    assert (code, f"--diff {changed}, if BASE was the image beneath" in told) == (2, True)
    for option in ("--from", "--split"):
        code, _, told = fastoci("validate", image, option, "4")
        assert (code, f"{option} is for --rebuild" in told) == (2, True)
