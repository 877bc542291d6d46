"""What a push and a pull say in a log: a line for each retry, resumption, mount and skip, and what it came to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fake_registry import FakeRegistry, break_off, error, reset_at

from imagekit import LayoutKit, make_tar, noise

AWAY = error(503, "UNAVAILABLE", "back at \x1b[1mten")
PLAIN = "--progress=plain"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastoci.registry.patience.Pacer.wait", lambda self, seconds: None)


@pytest.fixture
def image(kit: LayoutKit) -> Any:
    tars = [make_tar({name: noise(size, name)}) for name, size in (("a", 900_000), ("b", 800_000), ("c", 500_000))]
    return kit.add(kit.image(*tars), "1")


def lines(text: str, image: Any, kit: LayoutKit, hub: FakeRegistry) -> list[str]:
    """Return the lines without times, hosts, sessions, jitter; digests by the names of what they are."""
    document = kit.read(image)
    names = [*zip("abc", document["layers"], strict=True), ("CONFIG", document["config"]), ("IMAGE", image)]
    text = text.replace(hub.host, "HOST")
    for name, descriptor in names:
        text = text.replace(descriptor["digest"], f"<{name}>").replace(descriptor["digest"][7:15], name)
    text = re.sub(r"(?m)^ *[0-9.]+s ", "", text)
    text = re.sub(r"uploads/[0-9a-f]+\?…", "uploads/…", text)
    return re.sub(r"again in [0-9.]+s", "again", text).splitlines()


def test_a_push_with_faults(image: Any, kit: LayoutKit, hub: FakeRegistry, fastoci: Any) -> None:
    layers = kit.read(image)["layers"]
    hub.put_blob("other/base", kit.file(layers[0]["digest"]).read_bytes())
    hub.put_blob("me/app", kit.file(layers[2]["digest"]).read_bytes())
    hub.on("PATCH", "/blobs/", reset_at(50_000), skip=2)
    hub.on("PATCH", "/blobs/", AWAY, skip=3)
    arguments = ("--chunk-size=100000", "--mount-from=other/base", "--jobs=1", PLAIN)
    code, out, err = fastoci("push", f"oci:{kit}:1", f"{hub.host}/me/app:1", *arguments)
    said = r"PATCH http://HOST/v2/me/app/blobs/uploads/…: 503 UNAVAILABLE: back at \x1b[1mten"
    assert lines(err, image, kit, hub)[1:] == [
        "HOST/me/app: push allowed",
        "mounted <a> (a)",
        "pushing b: 781.7 KiB",
        "retry: connection reset; again",
        "retry: connection reset; the registry holds 244.1 KiB, going on",
        f"retry: {said}; again",
        f"retry: {said}; the registry holds 341.8 KiB, going on",
        "pushed <b> (b)",
        "skipped <c> (c)",
        "pushing config: 693 B",
        "pushed <CONFIG> (config)",
        "tagged HOST/me/app:1",
        "total: sent 928.9 KiB, skipped 488.6 KiB, mounted 879.4 KiB, resumed 2, repeated 146.5 KiB",
    ]
    assert (code, out) == (0, f"{hub.host}/me/app@{image['digest']}\n")


def test_a_push_that_is_given_up_and_run_again(image: Any, kit: LayoutKit, hub: FakeRegistry, fastoci: Any) -> None:
    hub.on("PATCH", "/blobs/", AWAY, skip=3, times=99)
    arguments = ("push", f"oci:{kit}:1", f"{hub.host}/me/app:1", "--chunk-size=100000", "--jobs=1", "--retry=3", PLAIN)
    code, out, err = fastoci(*arguments)
    said = r"PATCH http://HOST/v2/me/app/blobs/uploads/…: 503 UNAVAILABLE: back at \x1b[1mten"
    assert lines(err, image, kit, hub)[2:] == [
        "pushing a: 879.4 KiB",
        f"retry: {said}; again",
        f"retry: {said}; the registry holds 293 KiB, going on",
        f"retry: {said}; again",
        "error: upload of a stopped at 293.0 of 879.4 KiB",
        f"cause: {said}; 3 failures without progress",
        "hint:  run the same command again: 293.0 of 879.4 KiB stand already",
    ]
    assert (code, out) == (4, "")
    hub.rules.clear()
    code, out, err = fastoci(*arguments)
    found = lines(err, image, kit, hub)[2:]
    assert found[0].startswith("resumed a at 293")
    assert found[-1] == "total: sent 1.8 MiB, skipped 0, resumed 1, repeated 0"
    assert code == 0


def test_a_pull_that_is_given_up_and_run_again(kit: LayoutKit, hub: FakeRegistry, fastoci: Any, tmp_path: Path) -> None:
    tars = [make_tar({name: noise(size, name)}) for name, size in (("a", 2_500_000), ("b", 300_000), ("c", 200_000))]
    image = kit.add(kit.image(*tars), "1")
    fastoci("push", f"oci:{kit}:1", f"{hub.host}/me/app:1")
    [first, *_] = kit.read(image)["layers"]
    hub.on("GET", first["digest"], break_off(1_500_000))
    hub.on("GET", first["digest"], AWAY, times=99)
    arguments = ("pull", f"{hub.host}/me/app:1", f"{tmp_path}/out", "--jobs=1", "--retry=3", PLAIN)
    code, out, err = fastoci(*arguments)
    said = r"503 UNAVAILABLE: back at \x1b[1mten"
    assert lines(err, image, kit, hub)[1:] == [
        "pulling a: 2.4 MiB",
        "retry: connection reset (the answer broke off); again",
        f"retry: {said}; again",
        "error: cannot read HOST/me/app@<a>",
        f"cause: GET http://HOST/v2/me/app/blobs/<a>: {said}; 3 failures without progress",
        "hint:  run the same command again: 1.4 of 2.9 MiB are here already",
    ]
    assert (code, out) == (4, "")
    hub.rules.clear()
    code, out, err = fastoci(*arguments)
    found = lines(err, image, kit, hub)[1:]
    assert found[0] == "retry: an earlier run was stopped; going on at 1.4 MiB"
    assert found[-1] == "total: fetched 1.4 MiB, skipped 0, resumed 1"
    assert code == 0


def test_jobs_is_how_many_blobs_are_pulled_at_once(
    image: Any, kit: LayoutKit, hub: FakeRegistry, fastoci: Any, tmp_path: Path
) -> None:
    fastoci("push", f"oci:{kit}:1", f"{hub.host}/me/app:1")
    code, _, err = fastoci("pull", f"{hub.host}/me/app:1", f"{tmp_path}/out", "--jobs=1", PLAIN)
    told = [line.split()[0] for line in lines(err, image, kit, hub) if line.startswith("pull")]
    assert told == ["pulling", "pulled"] * 4
    assert code == 0
