"""How a run of the command ends: its exit codes, its three lines, its help."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer

from fastoci.cli import app
from fastoci.cli.options import OutputFlags, RegistryFlags
from fastoci.errors import AccessDeniedError, FastociError, StoreError, UsageError


@pytest.fixture
def command(monkeypatch):
    """Register a function as the command `try`."""

    def register(function):
        monkeypatch.setitem(app.COMMANDS, "try", "Try.")
        monkeypatch.setitem(sys.modules, "fastoci.cli.try", SimpleNamespace(run=function))

    monkeypatch.setattr("fastoci.cli.signals.install", lambda: None)
    return register


def fails_with(error):
    def run() -> None:
        """Fail."""
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FastociError("it failed"), 1),
        (UsageError("it failed"), 2),
        (StoreError("it failed", path="/x"), 1),
        (AccessDeniedError("it failed"), 5),
    ],
)
def test_each_error_has_its_exit_code(command, capsys, error, code):
    command(fails_with(error))
    assert app.run(["try"]) == code
    assert capsys.readouterr() == ("", "error: it failed\n")


def test_an_error_is_three_lines(command, capsys):
    command(
        fails_with(
            AccessDeniedError("not allowed to push to ghcr.io/me/base", cause="401", hint="fastoci login ghcr.io")
        )
    )
    assert app.run(["try"]) == 5
    assert capsys.readouterr().err == (
        "error: not allowed to push to ghcr.io/me/base\ncause: 401\nhint:  fastoci login ghcr.io\n"
    )


def test_an_error_cannot_command_the_terminal(command, capsys):
    command(fails_with(FastociError("a\x1b]0;b\x07\n\u202ec\udcff", cause="\x9b2J")))
    app.run(["try"])
    assert capsys.readouterr().err == "error: a\\x1b]0;b\\x07\\x0a\\u202ec\\xff\ncause: \\x9b2J\n"


def test_a_bug_is_no_traceback(command, capsys, monkeypatch):
    monkeypatch.delenv("FASTOCI_LOG", raising=False)
    command(fails_with(ZeroDivisionError("by zero")))
    assert app.run(["try"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: internal error: ZeroDivisionError: by zero\nhint:  ")
    assert "FASTOCI_LOG=debug" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("said", "cause"), [("", ""), ("the engine got none", "cause: the engine got none\n")])
def test_no_memory_is_no_bug(command, capsys, said, cause):
    command(fails_with(MemoryError(said)))
    assert app.run(["try"]) == 1
    assert capsys.readouterr().err.startswith(f"error: out of memory\n{cause}hint:  ask for fewer --threads")


def test_a_traceback_comes_when_asked_for(command, capsys, monkeypatch):
    monkeypatch.setenv("FASTOCI_LOG", "debug")
    command(fails_with(FastociError("it failed")))
    assert app.run(["try"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("error: it failed\n")


def test_an_interruption_is_130(command, capsys):
    command(fails_with(KeyboardInterrupt()))
    assert app.run(["try"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_termination_is_143(command, capsys):
    command(fails_with(SystemExit(143)))
    assert app.run(["try"]) == 143
    assert capsys.readouterr().err == "error: terminated\n"


def test_a_command_may_end_with_a_code_of_its_own(command, capsys):
    command(fails_with(typer.Exit(3)))
    assert app.run(["try"]) == 3
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: missing argument"),
        (["a", "b"], "error: got unexpected extra argument"),
        (["a", "--count", "many"], "error: invalid value for '--count': 'many' is not a valid int"),
        (["a", "--coumt", "1"], "error: no such option: --coumt\nhint:  did you mean --count? "),
        (["a", "--count"], "error: option '--count' requires an argument"),
        (["a", "--progress", "loud"], "error: invalid value for '--progress': 'loud' is not one of"),
        (["a", "--quiet=perhaps"], "error: --quiet takes true or false, not 'perhaps'"),
    ],
)
def test_wrong_usage_is_2_in_the_same_form(command, capsys, arguments, message):
    def run(word: Annotated[str, typer.Argument()], *, count: int = 0, output: OutputFlags) -> None:
        """Try."""

    command(run)
    assert app.run(["try", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert all(line.startswith(("error: ", "cause: ", "hint:  ")) for line in err.splitlines())


@pytest.mark.parametrize("name", app.COMMANDS)
def test_a_command_is_summed_up_by_its_first_line(name):
    module = importlib.import_module(f"fastoci.cli.{app.module_of(name)}")
    function = getattr(module, app._FUNCTIONS.get(name, "run"))
    assert inspect.getdoc(function).splitlines()[0] == app.COMMANDS[name]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(capsys, arguments):
    assert app.run(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(f"  {name}" in out for name in app.COMMANDS)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_each_command_has_help(capsys, name):
    for arguments in ([*name.split(), "--help"], ["help", *name.split()]):
        assert app.run(arguments) == 0
        out, err = capsys.readouterr()
        assert out.startswith(f"Usage: fastoci {name} ")
        assert err == ""


def test_help_shows_options_in_groups(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert app.run(["build", "--help"]) == 0
    text = capsys.readouterr().out
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert titles[:3] == ["Arguments", "Options", "Where it goes"]
    assert {"What the image says of itself", "Trees and layers", "Registries", "What is said"} < set(titles)
    sections = dict(zip(titles, re.split(r"^\S.*:$", text, flags=re.MULTILINE)[1:], strict=True))
    assert "--from IMAGE" in sections["Options"]
    assert "--help" in sections["Options"]
    assert "--output DEST" in sections["Where it goes"]
    assert "--entrypoint WORD" in sections["What the image says of itself"]
    assert "--upload" in sections["Registries"]
    # Nothing is shown twice, and nothing is longer than a line that can be read.
    assert len(re.findall(r"^  (?:-\w, )?--[\w-]+", text, re.MULTILINE)) == len(
        set(re.findall(r"^  (?:-\w, )?--[\w-]+", text, re.MULTILINE))
    )
    assert max(map(len, text.splitlines())) <= 110


def test_a_group_lists_its_commands(capsys):
    assert app.run(["index", "--help"]) == 0
    out, err = capsys.readouterr()
    assert "  index create" in out
    assert "  push" not in out
    assert err == ""
    assert app.run(["index"]) == 2
    assert "  index create" in capsys.readouterr().err
    assert app.run(["index", "destroy"]) == 2
    assert "no such command: index destroy" in capsys.readouterr().err


def test_no_command_is_wrong_usage(capsys):
    assert app.run([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Commands:" in err


@pytest.mark.parametrize(
    ("word", "hint"), [("bild", "fastoci build"), ("frobnicate", "--help"), ("--frobnicate", "--help")]
)
def test_an_unknown_command_is_wrong_usage(capsys, word, hint):
    assert app.run([word]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: no such ")
    assert hint in err


def test_credentials_are_taken_apart_at_the_first_colon():
    assert RegistryFlags(creds="me:a:b").options().credentials == ("me", "a:b")
    assert RegistryFlags(creds="me:").options().credentials == ("me", "")
    with pytest.raises(UsageError, match="no user"):
        RegistryFlags(creds=":secret").options()


def python(*arguments, stdout=subprocess.PIPE, **kwargs):
    return subprocess.Popen([sys.executable, *arguments], stdout=stdout, stderr=subprocess.PIPE, **kwargs)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_a_reader_that_has_gone_is_no_traceback(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    script = "from fastoci.cli.app import run; import sys; sys.exit(run(sys.argv[1:]))"
    process = python("-c", script, *arguments, stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=30)
    assert err == b""
    assert process.returncode == 1


def test_the_package_runs_as_a_program():
    process = python("-m", "fastoci", "--version")
    out, _ = process.communicate(timeout=30)
    assert out.startswith(b"fastoci ")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "redirection", "cause"),
    [
        (["--version"], ">/dev/full", "no space left on device"),
        (["--help"], ">/dev/full", "no space left on device"),
        (["build", "--help"], ">/dev/full", "no space left on device"),
        (["--version"], ">&-", "it is closed"),
        (["--help"], ">&-", "it is closed"),
    ],
)
def test_a_stdout_that_takes_nothing_is_an_error(arguments, redirection, cause):
    command = ["sh", "-c", f'exec "$0" -m fastoci "$@" {redirection}', sys.executable, *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"error: cannot write to stdout\ncause: {cause}\n")


@pytest.mark.parametrize("arguments", ["--version", "--help"])
def test_a_reader_that_has_gone_is_no_matter(arguments):
    script = f'{{ sleep 0.1; exec "$0" -m fastoci {arguments}; }} | true'
    done = subprocess.run(["sh", "-c", script, sys.executable], stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == ""
