from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from imagekit import CONFIG, push_by_hand


@pytest.fixture
def image(kit):
    return kit.add(kit.image(), "1")


def test_the_picture_of_an_image(image, kit, fastoci):
    code, out, err = fastoci("inspect", f"oci:{kit}:1")
    assert (code, err) == (0, "")
    manifest = kit.read(image)
    diff_ids = kit.read(manifest["config"])["rootfs"]["diff_ids"]
    layers = manifest["layers"]
    size = sum(layer["size"] for layer in layers)
    assert out == (
        f"image       oci:{kit}:1\n"
        f"digest      {image['digest']}\n"
        "type        application/vnd.oci.image.manifest.v1+json\n"
        "platform    linux/amd64\n"
        "created     2026-01-02T03:04:05Z\n"
        'entrypoint  ["hello"]\n'
        'cmd         ["Cloud"]\n'
        "env         PATH=/bin\n"
        "label       a=b\n"
        f"config      {manifest['config']['digest']}  {manifest['config']['size']} B\n"
        "\n"
        f"2 layers, {size / 1024:.1f} KiB\n"
        f"  1  {layers[0]['digest']}   {layers[0]['size'] / 1024:.1f} KiB  tar+gzip\n"
        f"     diff_id {diff_ids[0]}\n"
        "     COPY 0\n"
        f"  2  {layers[1]['digest']}     {layers[1]['size']} B  tar+gzip\n"
        f"     diff_id {diff_ids[1]}\n"
        "     COPY 1\n"
    )


def test_the_picture_of_an_index(kit, hub, fastoci):
    index = kit.add(kit.multi("amd64", "arm64"), "m")
    push_by_hand(kit, hub, "me/app", index, "1")
    code, out, _ = fastoci("inspect", f"{hub.host}/me/app:1")
    assert code == 0
    members = kit.read(index)["manifests"]
    assert out.splitlines()[3:] == [
        "",
        "2 members",
        *(
            f"{number:>3}  {member['digest']}     {member['size']} B  linux/{member['platform']['architecture']}"
            for number, member in enumerate(members, 1)
        ),
    ]


def test_the_picture_of_an_artifact(kit, fastoci):
    empty = kit.blob(b"{}", "application/vnd.oci.empty.v1+json")
    note = kit.blob(b"a note", "text/plain")
    kit.add(kit.manifest(empty, [note], artifactType="application/x-note", annotations={"b": "2", "a": "1"}), "1")
    code, out, _ = fastoci("inspect", kit)
    assert code == 0
    assert "artifact    application/x-note\n" in out
    assert "annotation  a=1\n            b=2\n" in out
    assert f"  1  {note['digest']}       6 B  text/plain\n" in out


def test_an_image_cannot_command_the_terminal(kit, fastoci):
    kit.add(kit.image(author="\x1b]0;title\x07\nforged line", variant="\u202e"), "1")
    _, out, _ = fastoci("inspect", kit)
    assert "author      \\x1b]0;title\\x07\\x0aforged line\n" in out
    assert "linux/amd64/\\u202e" in out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)


def test_as_json(image, kit, fastoci):
    _, out, _ = fastoci("inspect", "--json", kit)
    assert json.loads(out)["digest"] == image["digest"]


def test_the_bytes_of_the_documents(image, kit, fastoci):
    manifest = kit.read(image)
    for options, digest in (
        (["--raw"], image["digest"]),
        (["--config"], manifest["config"]["digest"]),
        (["--config", "--raw"], manifest["config"]["digest"]),
    ):
        code, out, err = fastoci("inspect", kit, *options)
        assert (code, err) == (0, "")
        assert out.encode() == kit.file(digest).read_bytes()


def test_bytes_that_are_no_text_are_written_as_they_are(kit, fastoci):
    data = b'{"a": "\xff"}\r\n\x00'
    kit.add(kit.manifest(kit.blob(data, CONFIG), []), "1")
    done = subprocess.run([sys.executable, "-m", "fastoci", "inspect", "--config", str(kit)], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")
    code, _, err = fastoci("inspect", kit)
    assert code == 3
    assert "not UTF-8" in err


def test_a_member_by_its_platform(kit, fastoci):
    index = kit.add(kit.multi("amd64", "arm64"), "m")
    member = kit.read(index)["manifests"][1]
    code, out, _ = fastoci("inspect", kit, "--platform", "linux/arm64")
    assert code == 0
    assert f"digest      {member['digest']}\n" in out
    code, _, err = fastoci("inspect", kit, "--platform", "linux/riscv64")
    assert code == 1
    assert "linux/amd64, linux/arm64" in err


@pytest.mark.parametrize(
    ("name", "code"), [("oci:{kit}:nope", 1), ("/nowhere", 1), ("{host}/me/app:1", 1), ("a b", 2), ("oci:", 2)]
)
def test_what_is_not_there(name, code, image, kit, hub, fastoci):
    got, out, err = fastoci("inspect", name.format(kit=kit, host=hub.host), "--retry", "1")
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
