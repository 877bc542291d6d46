from __future__ import annotations

import json

import pytest
from fake_registry import PASSWORD, USER


@pytest.fixture
def image(kit):
    return kit.add(kit.image(), "1")


def test_the_result_is_one_line_a_destination(image, kit, hub, fastoci):
    code, out, err = fastoci("push", f"oci:{kit}:1", f"{hub.host}/me/app:1", f"{hub.host}/you/app")
    assert code == 0
    assert out == f"{hub.host}/me/app@{image['digest']}\n{hub.host}/you/app@{image['digest']}\n"
    assert "push allowed" in err
    assert f"tagged {hub.host}/you/app:latest" in err
    assert set(hub.manifests["you/app"]) == {"latest", image["digest"]}


def test_the_result_line_is_an_image_again(image, kit, hub, fastoci):
    _, line, _ = fastoci("push", f"oci:{kit}:1", f"{hub.host}/me/app:1")
    code, out, _ = fastoci("validate", line.strip())
    assert code == 0
    assert ": valid" in out


def test_as_json(image, kit, hub, fastoci):
    _, out, _ = fastoci("push", kit, f"{hub.host}/me/app:1", "--json")
    name = f"{hub.host}/me/app"
    assert json.loads(out) == [
        {"name": f"{name}@{image['digest']}", "reference": f"{name}:1", "digest": image["digest"]}
    ]


def test_quietly(image, kit, hub, fastoci):
    code, out, err = fastoci("push", "-q", kit, f"{hub.host}/me/app:1")
    assert (code, err) == (0, "")
    assert out.endswith(f"@{image['digest']}\n")


def test_its_options_arrive(kit, hub, fastoci):
    kit.add(kit.multi("amd64", "arm64"), "m")
    hub.auth = "token"
    options = (
        "--creds",
        f"{USER}:{PASSWORD}",
        "--by-digest",
        "--platform",
        "linux/arm64",
        "--jobs",
        "1",
        "--upload=chunked",
    )
    code, out, err = fastoci("push", f"oci:{kit}:m", f"{hub.host}/me/app:1", *options, "--chunk-size", "64KiB")
    assert code == 0, err
    [(name, _)] = hub.manifests["me/app"].items()
    assert out == f"{hub.host}/me/app@{name}\n"
    assert PASSWORD not in err
    code, _, err = fastoci("push", f"oci:{kit}:m", f"{hub.host}/other:1", *options, "--mount-from", "me/app")
    assert code == 0, err
    assert "mounted" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("{kit}", "me/app:1"), 2, "which registry"),
        (("{kit}",), 2, "where to push it"),
        (("{kit}:nope", "{host}/me/app:1"), 1, "what is there: 1"),
        (("oci:/nowhere", "{host}/me/app:1"), 1, "/nowhere"),
        (("{kit}", "{host}/me/UPPER"), 2, "upper-case"),
        (("{host}/me/app:1", "{host}/me/copy:1"), 2, "at a registry"),
        (("{kit}", "{host}/me/app:1", "--platform", "amd64"), 2, "not a platform"),
        (("{kit}", "{host}/me/app:1", "--jobs", "0"), 2, "jobs"),
        ((), 2, "IMAGE"),
    ],
)
def test_errors_are_three_lines_and_a_code(arguments, code, said, image, kit, hub, fastoci):
    got, out, err = fastoci("push", *(argument.format(kit=f"oci:{kit}", host=hub.host) for argument in arguments))
    assert (got, out) == (code, "")
    assert err.count("error: ") == 1
    assert said in err
    assert "hint: " in err or "cause: " in err
    assert "Traceback" not in err


def test_not_allowed_in(image, kit, hub, fastoci):
    hub.auth = "token"
    code, out, err = fastoci("push", kit, f"{hub.host}/me/app:1")
    assert (code, out) == (5, "")
    assert f"error: not allowed to push to {hub.host}/me/app\n" in err
    assert f"hint:  fastoci login {hub.host}\n" in err
