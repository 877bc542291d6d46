"""`validate --rebuild`: an image is what its trees give, or what differs is named."""

from __future__ import annotations

import json
import os
import threading

import pytest

from fastoci.build import build
from fastoci.checks.rebuild import rebuild
from fastoci.errors import ImageNotFoundError, InvalidImageError, TreeError, UsageError
from fastoci.layer.options import LayerOptions
from fastoci.tree.policy import TreePolicy
from imagekit import TAR, make_tar, noise

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
