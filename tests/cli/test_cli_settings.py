"""Settings: which of command line, variables and files decides, and what is said of those that cannot be meant."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Annotated, Literal

import pytest
import typer

from fastoci.cli import app
from fastoci.cli.command import parser_of
from fastoci.cli.configflags import BuildOutputFlags, ConfigFlags
from fastoci.cli.options import OutputFlags, UploadFlags
from fastoci.cli.settings import _NOT_FOR_A_PROJECT, long_name
from oracles.privileges import unprivileged

# Variables of fastoci that are no option's, and what steers its tests.
OTHER_VARIABLES = {
    "FASTOCI_BENCH",
    "FASTOCI_CACHE_DIR",
    "FASTOCI_LOG",
    "FASTOCI_REQUIRE_REAL_PARTS",
    "FASTOCI_STATE_DIR",
    "FASTOCI_TESTS",
}

MANY = list[str] | None


class Place:
    """A working directory with a project's file, and a user's file elsewhere."""

    def __init__(self, root):
        self.project = root / "work" / "fastoci.toml"
        self.user = root / "config" / "fastoci" / "config.toml"
        self.project.parent.mkdir()
        self.user.parent.mkdir(parents=True)


@pytest.fixture
def place(tmp_path, monkeypatch):
    place = Place(tmp_path)
    monkeypatch.chdir(place.project.parent)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return place


@pytest.fixture
def given(monkeypatch, place):
    """Run the command `try` and return what its function was given."""
    seen = {}

    def run(
        *,
        base: Annotated[str | None, typer.Option("--from")] = None,
        threads: Annotated[int | None, typer.Option("-T", "--threads", min=1, max=1024)] = None,
        compression: Literal["gzip", "none"] = "gzip",
        exclude: MANY = None,
        chown: str | None = None,
        xattrs: Annotated[bool, typer.Option("--xattrs/--no-xattrs")] = True,
        load: Annotated[bool, typer.Option("--load")] = False,
        load_into: Annotated[str | None, typer.Option("--load-into", hidden=True)] = None,
        config: ConfigFlags,
        registry: UploadFlags,
        output: BuildOutputFlags,
    ) -> None:
        """Try."""
        seen.update(locals())

    monkeypatch.setitem(app.COMMANDS, "try", "Try.")
    monkeypatch.setitem(sys.modules, "fastoci.cli.try", SimpleNamespace(run=run))
    monkeypatch.setattr("fastoci.cli.signals.install", lambda: None)

    def give(*arguments):
        seen.clear()
        assert app.run(["try", *arguments]) == 0
        return SimpleNamespace(**seen)

    return give


@pytest.fixture
def refused(given, capsys):
    """Run the command `try` and return what it said to a setting that cannot be meant."""

    def refuse(*arguments):
        capsys.readouterr()
        assert app.run(["try", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert all(line.startswith(("error: ", "cause: ", "hint:  ")) for line in err.splitlines()), err
        return err

    return refuse


def test_nothing_said_is_the_default(given):
    found = given()
    assert (found.threads, found.compression, found.exclude, found.xattrs) == (None, "gzip", None, True)


def test_the_first_that_says_it_decides(given, place, monkeypatch):
    place.user.write_text("threads = 5\n")
    assert given().threads == 5
    place.user.write_text("threads = 5\n[try]\nthreads = 4\n")
    assert given().threads == 4
    place.project.write_text("threads = 3\n")
    assert given().threads == 3
    monkeypatch.setenv("FASTOCI_THREADS", "2")
    assert given().threads == 2
    assert given("-T", "1").threads == 1


def test_each_option_is_decided_alone(given, place, monkeypatch):
    place.user.write_text("threads = 5\nchown = '5'\n")
    place.project.write_text("chown = '3'\n")
    monkeypatch.setenv("FASTOCI_COMPRESSION", "none")
    found = given("--exclude", "*.o")
    assert (found.threads, found.chown, found.compression, found.exclude) == (5, "3", "none", ["*.o"])


def test_an_empty_variable_says_nothing(given, place, monkeypatch):
    place.user.write_text("threads = 5\n")
    monkeypatch.setenv("FASTOCI_THREADS", "")
    assert given().threads == 5


def test_a_variable_of_many_values_has_one_a_line(given, monkeypatch):
    monkeypatch.setenv("FASTOCI_EXCLUDE", "*.pyc\n\na file.txt\n")
    monkeypatch.setenv("FASTOCI_CMD", '["serve", "--all of it"]')
    found = given()
    assert found.exclude == ["*.pyc", "a file.txt"]
    assert found.config.options(lambda *_: None).cmd == ("serve", "--all of it")


def test_what_a_command_line_says_replaces_all_values(given, place):
    place.project.write_text("exclude = ['*.o', '*.a']\n")
    assert given().exclude == ["*.o", "*.a"]
    assert given("--exclude", "*.so").exclude == ["*.so"]


@pytest.mark.parametrize("text", ["true", "1", "YES", "on"])
def test_true_as_shells_write_it(given, monkeypatch, text):
    monkeypatch.setenv("FASTOCI_QUIET", text)
    assert given().output.quiet is True


@pytest.mark.parametrize("text", ["false", "0", "No", "off"])
def test_false_as_shells_write_it(given, monkeypatch, text):
    monkeypatch.setenv("FASTOCI_XATTRS", text)
    monkeypatch.setenv("FASTOCI_TLS_VERIFY", text)
    found = given()
    assert (found.xattrs, found.registry.tls_verify) == (False, False)
    assert given("--xattrs", "--tls-verify").xattrs is True


def test_an_option_is_known_by_its_name_not_by_its_parameter(given, place, monkeypatch):
    place.user.write_text("from = 'alpine:3'\n")
    assert given().base == "alpine:3"
    monkeypatch.setenv("FASTOCI_FROM", "debian:12")
    assert given().base == "debian:12"


@pytest.mark.parametrize(("text", "load", "into"), [("podman", True, "podman"), ("1", True, None), ("0", False, None)])
def test_a_flag_that_may_have_a_value(given, monkeypatch, text, load, into):
    monkeypatch.setenv("FASTOCI_LOAD", text)
    found = given()
    assert (found.load, found.load_into) == (load, into)


def test_toml_has_numbers_and_dates(given, place):
    place.user.write_text("chown = 0\ncreated = 2026-01-31T12:00:00Z\nchunk-size = 33554432\nexclude = '*.o'\n")
    found = given()
    assert found.chown == "0"
    assert found.config.options(lambda *_: None).created == 1769860800
    assert found.registry.options().chunk_size == 33554432
    assert found.exclude == ["*.o"]


def test_options_of_other_commands_are_no_errors(given, place, monkeypatch):
    place.user.write_text(
        "threads = 2\nfull-ref = true\n[ls]\nreferrers = true\n[index.create]\nannotation = ['a=b']\n"
    )
    monkeypatch.setenv("FASTOCI_FULL_REF", "maybe")
    assert given().threads == 2


def test_a_command_of_two_words_has_a_table_in_a_table(place, capsys):
    place.user.write_text("[index.create]\nanotation = ['a=b']\n")
    assert app.run(["index", "create", "oci:x", "oci:y"]) == 2
    assert capsys.readouterr().err == (
        f"error: {place.user}: there is no setting 'index.create.anotation'\n"
        "hint:  did you mean 'index.create.annotation'?\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("threds = 2", "there is no setting 'threds'"),
        ("Threads = 2", "there is no setting 'Threads'"),
        ("[bild]\nthreads = 2", "there is no setting 'bild'"),
        ("[try]\nfull-ref = true", "there is no setting 'try.full-ref'"),
        ("load-into = 'podman'", "there is no setting 'load-into'"),
        ("password = 'secret'", "there is no setting 'password'"),
        ("threads = 'many'", "threads: 'many' is not a valid int"),
        ("threads = 0", "threads: 0 is not in the range 1<=x<=1024"),
        ("threads = 2.0", "threads: a whole number is wanted, not a number"),
        (f"threads = 0x{9000 * 'f'}", "threads: a number of thousands of digits"),
        (f"chown = 0x{9000 * 'f'}", "chown: a number of thousands of digits"),
        ("threads = true", "threads: a whole number is wanted, not a boolean"),
        ("[try]\nthreads = [2]", "try.threads: a whole number is wanted, not an array"),
        ("compression = 'lzma'", "compression: 'lzma' is not one of"),
        ("chown = true", "chown: a text is wanted, not a boolean"),
        ("chown = ['0']", "chown: a text is wanted, not an array"),
        ("exclude = [['*.o']]", "exclude: a text is wanted, not an array"),
        ("xattrs = 'no'", "xattrs: true or false is wanted, not 'no'"),
        ("xattrs = 0", "xattrs: true or false is wanted, not a number"),
    ],
)
def test_a_file_that_cannot_be_meant(refused, place, text, message):
    place.user.write_text(f"{text}\n")
    lines = refused().splitlines()
    assert lines[0].startswith(f"error: {place.user}: {message}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FASTOCI_THREADS", "many", "FASTOCI_THREADS: 'many' is not a valid int"),
        ("FASTOCI_QUIET", "perhaps", "FASTOCI_QUIET: true or false is wanted, not 'perhaps'"),
        ("FASTOCI_PROGRESS", "loud", "FASTOCI_PROGRESS: 'loud' is not one of"),
    ],
)
def test_a_variable_that_cannot_be_meant(refused, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    assert refused().startswith(f"error: {message}")


@pytest.mark.parametrize("key", sorted(_NOT_FOR_A_PROJECT.keys() - {"username"}))
@pytest.mark.parametrize("where", ["top", "table"])
def test_what_arrives_with_a_pull_request_says_nothing_of_registries(place, capsys, key, where):
    name = "copy" if key.startswith(("src-", "dest-")) else "build"
    place.project.write_text(f"{key} = 'x'\n" if where == "top" else f"[{name}]\n{key} = 'x'\n")
    assert app.run([name, "nowhere", "oci:nothing"]) == 2
    error, cause, hint = capsys.readouterr().err.splitlines()
    shown = key if where == "top" else f"{name}.{key}"
    assert error == f"error: fastoci.toml: {shown} may not be set here"
    assert cause.startswith("cause: a project's file arrives with pull requests: it does not say ")
    assert hint.startswith(f"hint:  --{key}, FASTOCI_")


def test_a_project_takes_no_secret_of_the_host(refused, given, place, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret")
    for text in ("env = 'TOKEN'", "env = ['A=1', 'TOKEN']"):
        place.project.write_text(f"{text}\n")
        err = refused()
        assert err.startswith("error: fastoci.toml: env may not take a variable of this host")
        assert "TOKEN" not in err
    place.project.write_text("env = ['A=1']\n")
    assert given().config.env == ["A=1"]
    place.project.unlink()
    place.user.write_text("env = 'TOKEN'\n")
    assert given().config.options(lambda *_: None).env == {"TOKEN": "secret"}


def test_what_a_user_may_say_of_registries(given, place):
    place.user.write_text("creds = 'me:word'\ntls-verify = false\njobs = 2\nauthfile = 'a'\n")
    options = given().registry.options()
    assert (options.credentials, options.tls_verify, options.jobs) == (("me", "word"), False, 2)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"threads = \n", "(at line 1, column 11)"),
        (b"threads = 1\nthreads = 2\n", "Cannot overwrite a value (at line 2, column 12)"),
        (b"chown = '\xff'\n", "'utf-8' codec can't decode byte 0xff"),
        (b"a = " + b"[" * 100_000, ""),
    ],
)
def test_what_is_no_toml(refused, place, data, cause):
    place.user.write_bytes(data)
    err = refused()
    assert err.startswith(f"error: {place.user} is no TOML\ncause: ")
    assert cause in err


def test_files_that_are_no_files(refused, place):
    place.user.mkdir()
    assert refused().endswith("cause: it is no regular file\n")
    place.user.rmdir()
    os.mkfifo(place.user)
    assert refused().endswith("cause: it is no regular file\n")
    place.user.unlink()
    place.user.symlink_to("config.toml")
    assert refused() == f"error: cannot read the settings in {place.user}\ncause: too many levels of symbolic links\n"
    place.user.unlink()
    place.user.write_bytes(b"#" * ((1 << 20) + 1))
    assert refused().endswith("cause: it is longer than 1,048,576 bytes\n")


def test_a_file_that_may_not_be_read(refused, place):
    # The one in the working directory: nobody may come down to here from the root.
    place.project.parent.chmod(0o755)
    place.project.write_text("threads = 1\n")
    place.project.chmod(0)
    with unprivileged():
        err = refused()
    assert err == "error: cannot read the settings in fastoci.toml\ncause: permission denied\n"


def test_a_home_that_is_closed_has_no_settings(given, place):
    place.user.write_text("threads = 1\n")
    place.user.parent.chmod(0)
    try:
        with unprivileged():
            assert given().threads is None
    finally:
        place.user.parent.chmod(0o700)


def test_help_and_a_wrong_command_line_need_no_settings(given, refused, place, capsys):
    place.user.write_text("nonsense\n")
    assert app.run(["try", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: fastoci try ")
    assert refused("--frobnicate").startswith("error: no such option")
    assert "is no TOML" in refused()


def test_a_word_of_the_image_is_not_a_call_for_help(refused, place):
    place.user.write_text("nonsense\n")
    assert "is no TOML" in refused("--cmd", "--help")


def test_the_user_file_is_found_without_a_variable(given, place, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "home" / ".config" / "fastoci" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("threads = 7\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert given().threads == 7
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert given().threads == 7


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_option_has_a_setting(name):
    """By its long name, but for the password; no two of a command share one, and none takes another variable's name."""
    params = parser_of(name, app.function_of(name)).params
    keys = [key for param in params if (key := long_name(param)) is not None]
    shown = [param for param in params if param.param_type_name == "option" and not param.hidden]
    missing = [param.name for param in shown if long_name(param) is None]
    assert missing == (["password", "password_stdin"] if name == "login" else [])
    assert len(keys) == len(set(keys))
    assert not {f"FASTOCI_{key.upper().replace('-', '_')}" for key in keys} & OTHER_VARIABLES


def test_what_a_project_may_not_set_is_known():
    """A registry's option that is new has to be refused in a project's file as the others are."""
    fields = {field.name.replace("_", "-") for field in dataclasses.fields(UploadFlags)}
    assert "creds" in fields
    assert fields <= _NOT_FOR_A_PROJECT.keys()
    everywhere = {
        key
        for name in app.COMMANDS
        for param in parser_of(name, app.function_of(name)).params
        if (key := long_name(param)) is not None
    }
    assert _NOT_FOR_A_PROJECT.keys() <= everywhere
    assert not _NOT_FOR_A_PROJECT.keys() & OutputFlags.__annotations__.keys()


def test_without_files_no_toml_is_read(tmp_path):
    (tmp_path / "empty").mkdir()
    script = (
        "import sys; from fastoci.cli.app import run; code = run(['build', 'empty', '-o', 'oci:x', '-q']);"
        "sys.exit(code or 'tomllib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
