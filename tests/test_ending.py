"""Ends that are not missed: interrupted at any moment they come all the same, and the interruption is raised."""

from __future__ import annotations

import errno
import os

import pytest

from fastoci.ending import Ending, EndingStack, OpenFile, ending_context
from oracles.interruption import interrupted_at


class Recorded(Ending):
    """Says what it is told, and fails as it is told."""

    def __init__(self, *fails: BaseException | None, begins: BaseException | None = None) -> None:
        self.told: list[object] = []
        self._fails = list(fails)
        self._begins = begins

    def begin(self) -> None:
        self.told.append("begun")
        if self._begins is not None:
            raise self._begins

    def end(self) -> None:
        self.told.append(self.failed)
        if self._fails and (error := self._fails.pop(0)) is not None:
            raise error


def test_it_begins_and_ends():
    with Recorded() as one:
        assert one.told == ["begun"]
    assert one.told == ["begun", False]
    one.close()
    assert one.told == ["begun", False, False]


def test_a_body_that_fails():
    one = Recorded()
    with pytest.raises(ZeroDivisionError), one:
        1 / 0  # noqa: B018
    assert one.told == ["begun", True]


@pytest.mark.parametrize("error", [OSError("no"), KeyboardInterrupt()])
def test_a_beginning_that_fails_is_ended(error):
    one = Recorded(begins=error)
    with pytest.raises(type(error)), one:
        pytest.fail("it never began")
    assert one.told == ["begun", True]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupted_end_is_begun_again(interruption):
    one = Recorded(interruption, KeyboardInterrupt("second"), KeyboardInterrupt("third"))
    with pytest.raises(type(interruption)) as caught, one:
        pass
    assert caught.value is interruption
    assert one.told == ["begun", False, True, True, True]


def test_an_error_of_the_end_is_raised_and_not_tried_again():
    one = Recorded(OSError("no"))
    with pytest.raises(OSError, match="no"), one:
        pass
    assert one.told == ["begun", False]


def test_after_an_interruption_an_error_says_less():
    one = Recorded(KeyboardInterrupt(), OSError("no"))
    with pytest.raises(KeyboardInterrupt), one:
        pass
    assert one.told == ["begun", False, True]


def test_who_insists_gets_out(monkeypatch):
    """An interruption that comes more than two seconds after the first is the last."""
    clock = iter([100.0, 101.0, 102.0, 102.1])
    monkeypatch.setattr("fastoci._engine.ending.monotonic", lambda: next(clock))
    one = Recorded(*(KeyboardInterrupt(number) for number in range(9)))
    with pytest.raises(KeyboardInterrupt) as caught:
        one.close()
    assert caught.value.args == (3,)
    assert one.told == [False, True, True, True]


def moments(function):
    """Return every line that a function comes to."""
    with interrupted_at() as lines:
        function()
    return [(place, time) for place, count in lines.counts.items() for time in range(1, count + 1)]


def test_a_generator_is_surely_gone_on_with():
    told = []

    @ending_context
    def nested():
        with Recorded() as outer:
            told.append(outer)
            with Recorded() as inner:
                told.append(inner)
                yield "given"

    with nested() as given:
        assert given == "given"
    assert [one.told for one in told] == [["begun", False]] * 2
    told.clear()
    with pytest.raises(ZeroDivisionError), nested():
        1 / 0  # noqa: B018
    assert [one.told for one in told] == [["begun", True]] * 2

    def enter():
        with nested():
            pass

    places = moments(enter)
    assert places
    for moment in places:
        told.clear()
        with interrupted_at(moment), pytest.raises(KeyboardInterrupt):
            enter()
        assert all(one.told in (["begun", True], ["begun", False]) for one in told), moment


def test_a_stack_leaves_all_whatever_interrupts_it():
    def fill(stack):
        return [stack.enter_context(Recorded(error)) for error in (None, KeyboardInterrupt(), None)]

    with pytest.raises(KeyboardInterrupt), EndingStack() as stack:
        entered = fill(stack)
    assert [one.told for one in entered] == [["begun", True], ["begun", False, True], ["begun", False]]


def test_an_open_file_has_an_owner(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    before = sorted(os.listdir("/proc/self/fd"))
    file = OpenFile(tmp_path / "file", os.O_RDONLY)
    assert os.read(file.fd, 10) == b"data"
    assert not os.get_inheritable(file.fd)
    del file
    assert sorted(os.listdir("/proc/self/fd")) == before
    with OpenFile(os.fsencode(tmp_path), os.O_RDONLY | os.O_DIRECTORY) as directory:
        inner = OpenFile("file", os.O_RDONLY, directory=directory.fd)
        with inner.stream() as stream:
            assert (inner.fd, stream.read()) == (-1, b"data")
        inner.close()
        with OpenFile("new", os.O_WRONLY | os.O_CREAT, 0o600, directory=directory.fd) as made:
            assert os.fstat(made.fd).st_mode & 0o7777 == 0o600
    assert directory.fd == -1
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("name", "number"), [("nothing", errno.ENOENT), ("file/x", errno.ENOTDIR), ("x" * 300, errno.ENAMETOOLONG)]
)
def test_a_file_that_cannot_be_opened(tmp_path, name, number):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        OpenFile(tmp_path / name, os.O_RDONLY)
    assert (caught.value.errno, caught.value.filename) == (number, tmp_path / name)


def test_a_name_with_a_nul():
    with pytest.raises(ValueError, match="null"):
        OpenFile("a\0b", os.O_RDONLY)
