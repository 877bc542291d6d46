from __future__ import annotations

import json
import re

import pytest

from imagekit import push_by_hand


@pytest.fixture
def image(kit):
    return kit.add(kit.image(), "1")


def test_a_valid_image(image, kit, fastoci):
    size = sum(layer["size"] for layer in kit.read(image)["layers"])
    code, out, err = fastoci("validate", f"oci:{kit}:1")
    assert code == 0
    assert re.fullmatch(rf" \d\.\ds checking oci:{kit}:1: {size / 1024:.1f} KiB\n", err)
    assert fastoci("validate", f"oci:{kit}:1", "-q")[1:] == (out, "")
    assert out == f"oci:{kit}:1: valid (1 image, 2 blobs read, {size / 1024:.1f} KiB)\n"
    assert fastoci("validate", "--fast", kit)[1] == f"oci:{kit}: valid (1 image, blobs not read)\n"


def test_an_image_that_is_not(image, kit, hub, fastoci):
    layer = kit.read(image)["layers"][1]
    data = bytearray(kit.file(layer["digest"]).read_bytes())
    data[9] ^= 1
    push_by_hand(kit, hub, "me/app", image, "1")
    kit.file(layer["digest"]).write_bytes(data)
    code, out, err = fastoci("validate", f"oci:{kit}:1", "-q")
    assert (code, err) == (3, "")
    first, *_, last = out.splitlines()
    assert first.startswith(f"error: {image['digest']}/layers/1: the blob's digest is sha256:")
    assert first.endswith(f", and {layer['digest']} is said of it")
    assert last.startswith(f"oci:{kit}:1: not valid: 1 error (1 image, 2 blobs read, ")
    assert fastoci("validate", "--fast", f"oci:{kit}:1")[0] == 0
    assert fastoci("validate", f"{hub.host}/me/app:1")[0] == 0


def test_as_json(image, kit, fastoci):
    code, out, _ = fastoci("validate", "--json", kit)
    found = json.loads(out)
    assert (code, found["valid"], found["findings"], found["images"]) == (0, True, [], 1)
    kit.file(kit.read(image)["config"]["digest"]).unlink()
    code, out, _ = fastoci("validate", "--json", kit)
    found = json.loads(out)
    assert (code, found["valid"]) == (3, False)
    assert found["findings"][0]["severity"] == "error"
    assert found["findings"][0]["digest"] == kit.read(image)["config"]["digest"]


def test_what_could_not_be_checked_is_counted(kit, fastoci):
    kit.add(kit.blob(b"<xml/>", "text/xml"), "1")
    code, out, _ = fastoci("validate", kit)
    assert code == 0
    assert out.splitlines() == [
        "unchecked: index.json/manifests/0: its media type is not known here: 'text/xml'",
        f"oci:{kit}: valid, 1 not checked (0 images, 1 blob read, 6 B)",
    ]


def test_an_image_cannot_command_the_terminal(kit, fastoci):
    kit.add(kit.image(created="\x1b[2J"), "1")
    code, out, _ = fastoci("validate", kit)
    assert code == 3
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("name", "code"), [("oci:{kit}:nope", 1), ("/nowhere", 1), ("{host}/me/app:1", 1), ("oci:", 2)]
)
def test_what_is_not_there(name, code, image, kit, hub, fastoci):
    got, out, err = fastoci("validate", name.format(kit=kit, host=hub.host), "--retry", "1")
    assert (got, out) == (code, "")
    assert err.startswith("error: ")


@pytest.mark.parametrize("command", ["validate", "inspect", "push", "ls"])
def test_a_layout_that_is_not_there(command, fastoci, tmp_path):
    code, out, err = fastoci(command, f"oci:{tmp_path}/nowhere", "-q")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        "hint:  name a layout that `fastoci build` or `fastoci pull` made; at a registry it is docker://REF"
    )
