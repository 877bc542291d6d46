"""Docker's words on the command line."""

from __future__ import annotations

import pytest

from fastoci.cli import words
from fastoci.errors import UsageError


def test_env_takes_the_hosts_value_for_a_name_alone():
    environ = {"HOST": "here", "EMPTY": ""}
    assert words.parse_env(["A=1", "B=x=y", "C=", "HOST", "EMPTY", "UNSET"], environ) == {
        "A": "1",
        "B": "x=y",
        "C": "",
        "HOST": "here",
        "EMPTY": "",
    }
    assert list(words.parse_env(["A=1", "B=2", "A=3"], {}).items()) == [("A", "3"), ("B", "2")]
    with pytest.raises(UsageError, match="names no variable"):
        words.parse_env(["=1"], {})


def test_labels_may_be_empty():
    assert words.parse_labels(["a=1", "b", "c=d=e"]) == {"a": "1", "b": "", "c": "d=e"}
    with pytest.raises(UsageError):
        words.parse_labels(["=1"])


def test_annotations_are_of_the_manifest():
    assert words.parse_annotations(["a=1", "manifest:b=2", "org.x:y=3"]) == {"a": "1", "b": "2", "org.x:y": "3"}
    for wrong in ("a", "=1", "index:a=1", "manifest[linux/amd64]:a=1", "manifest-descriptor:a=1"):
        with pytest.raises(UsageError):
            words.parse_annotations([wrong])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (None, None),
        ([], ()),
        ([""], ()),
        (["sh"], ("sh",)),
        (["sh", "-c", ""], ("sh", "-c", "")),
        (['["sh", "-c", "echo hi"]'], ("sh", "-c", "echo hi")),
        (["[]"], ()),
        (["["], ("[",)),
        (["[x"], ("[x",)),
        (["sh", '["-c"]'], ("sh", "-c")),
        (['{"a": 1}'], ('{"a":', "1}")),
    ],
)
def test_a_command_is_words_or_an_array(values, expected):
    if values == ['{"a": 1}']:
        values, expected = ['{"a":1}'], ('{"a":1}',)
    said = []
    assert words.parse_command(values, "--cmd", lambda *said_: said.append(said_)) == expected
    assert said == []


def test_a_word_with_a_space_draws_a_warning():
    said = []
    assert words.parse_command(["sh -c x"], "--cmd", lambda *words_: said.append(words_)) == ("sh -c x",)
    ((message, hint),) = said
    assert "'sh -c x'" in message
    assert "--cmd" in hint


@pytest.mark.parametrize("value", ["[1]", '["a", null]', '[["a"]]'])
def test_an_array_holds_strings(value):
    with pytest.raises(UsageError, match="strings"):
        words.parse_command([value], "--cmd", lambda *_: None)


def test_ports():
    assert words.parse_ports(["80", "53/udp", "8000-8002", "9/SCTP", "80/tcp"]) == (
        "80/tcp",
        "53/udp",
        "8000/tcp",
        "8001/tcp",
        "8002/tcp",
        "9/sctp",
    )
    for wrong in ("", "x", "0", "65536", "8080:80", "80/icmp", "9-8", "-1", "80/", "1-", "٣"):
        with pytest.raises(UsageError):
            words.parse_ports([wrong])


def test_volumes_are_absolute_paths():
    assert words.parse_volumes(["/data", "/a b"]) == ("/data", "/a b")
    for wrong in ("data", "/host:/data", ""):
        with pytest.raises(UsageError):
            words.parse_volumes([wrong])


def test_owners_are_numbers():
    assert words.parse_owner("0") == (0, 0)
    assert words.parse_owner("1000") == (1000, 1000)
    assert words.parse_owner("1:2") == (1, 2)
    assert words.parse_owner("4294967294:0") == (4294967294, 0)
    for wrong in ("", ":", "1:", ":1", "root", "root:root", "-1", "4294967295", "1:2:3", "1.0", "٣"):
        with pytest.raises(UsageError):
            words.parse_owner(wrong)


def test_epochs():
    assert words.parse_epoch("0", "x") == 0
    assert words.parse_epoch("1700000000", "x") == 1700000000
    for wrong in ("", "-1", "1.5", "today", "1e3", "٣"):
        with pytest.raises(UsageError):
            words.parse_epoch(wrong, "SOURCE_DATE_EPOCH")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("@1700000000", 1700000000),
        ("-1", -1),
        ("2023-11-14T22:13:20Z", 1700000000),
        ("2023-11-14T23:13:20+01:00", 1700000000),
        ("2023-11-14T22:13:20.9Z", 1700000000),
        ("2023-11-14T22:13:20", 1700000000),
        ("1969-12-31T23:59:59.5Z", -1),
        ("1970-01-01", 0),
    ],
)
def test_dates(text, seconds):
    assert words.parse_created(text) == seconds


@pytest.mark.parametrize("text", ["", "now", "2023-13-01", "99999999999999", "0000-01-01T00:00:00Z"])
def test_no_dates(text):
    with pytest.raises(UsageError):
        words.parse_created(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("@-5", -5), ("1970-01-02", 86400), ("1970-01-01T01:00:00+01:00", 0)]
)
def test_mtime(text, seconds):
    assert words.parse_mtime(text) == seconds


@pytest.mark.parametrize("text", ["", "now", "1e9", "10000-01-01"])
def test_no_mtime(text):
    with pytest.raises(UsageError, match="is no date") as caught:
        words.parse_mtime(text)
    assert caught.value.hint.startswith("keep, ")
