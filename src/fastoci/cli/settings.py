"""Settings: what the options that a command line leaves out are, by variables and by files.

The first that says it decides: the command line; `FASTOCI_<OPTION>`; `./fastoci.toml`; `$XDG_CONFIG_HOME/fastoci/
config.toml`, else `~/.config/fastoci/config.toml`. In a file a key is an option's long name without its dashes, at the
top for every command that has it, or in the table of one command, which counts before the top.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

import typer

from fastoci.errors import UsageError, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["PROJECT_FILE", "long_name", "read_settings"]

PROJECT_FILE = "fastoci.toml"

_LIMIT = 1 << 20  # bytes of a file; a thousand options would be 40 KiB

# A project's file arrives with a stranger's pull request, and is heard by whoever builds it: it says what an image is,
# not who is talked to and how, where anything is written, or what leaves this machine.
_NOT_FOR_A_PROJECT = {
    **dict.fromkeys(
        ("authfile", "creds", "username", "src-creds", "src-authfile", "dest-creds", "dest-authfile"), "credentials"
    ),
    **dict.fromkeys(
        ("tls-verify", "plain-http", "cert-dir", "src-tls-verify", "src-cert-dir", "dest-tls-verify", "dest-cert-dir"),
        "TLS",
    ),
    **dict.fromkeys(("jobs", "retry", "upload", "chunk-size", "mount-from", "by-digest"), "how a registry is used"),
    **dict.fromkeys(("push", "load"), "whether an image leaves this machine"),
    **dict.fromkeys(("output", "iidfile", "digestfile", "metadata-file"), "where anything is written"),
}

# A password belongs in no file of settings, and the list of a shell's variables is no better: `--password-stdin`.
_COMMAND_LINE_ONLY = {"help", "password", "password-stdin"}

# Those who have used a shell write true and false in these ways, too.
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class _Setting:
    """A value that stands somewhere, and where."""

    def __init__(self, value: object, where: str, *, is_variable: bool = False) -> None:
        self.value = value
        self.where = where
        self.is_variable = is_variable

    def wrong(self, why: str, hint: str | None = None) -> UsageError:
        return UsageError(f"{self.where}: {why}", hint=hint)


def read_settings(name: str, params: Sequence[Any], optional_values: Mapping[str, str]) -> dict[str, object]:
    """Return the values that variables and files give to the options of a command.

    Args:
        name: The command's name.
        params: Its options, as the parser has them.
        optional_values: Flags that may have a value, and the hidden option that it belongs to then.

    Returns:
        By the parser's name of an option; what nothing is said of has no entry.

    Raises:
        UsageError: A variable or a file says what cannot be meant; the error names it and the key.
    """
    options = {key: param for param in params if (key := long_name(param)) is not None}
    files = [_of_file(path, name, options, is_project=is_project) for path, is_project in _files()]
    found: dict[str, object] = {}
    for key, param in options.items():
        variable = f"FASTOCI_{key.upper().replace('-', '_')}"
        if text := os.environ.get(variable):
            setting: _Setting | None = _Setting(_of_variable(text, param), variable, is_variable=True)
        else:
            setting = next((file[key] for file in files if key in file), None)
        if setting is None:
            continue
        hidden = optional_values.get(f"--{key}")
        if hidden is not None and isinstance(setting.value, str) and setting.value.lower() not in _BOOLEANS:
            found[param.name] = True
            found[hidden.removeprefix("--").replace("-", "_")] = setting.value
        else:
            found[param.name] = _checked(setting, param)
    return found


def long_name(param: Any) -> str | None:  # noqa: ANN401 - click's Parameter, whichever click
    """Return what a setting of an option is called, None for what no setting can say."""
    if param.param_type_name != "option" or param.hidden:
        return None
    key = next((spelling[2:] for spelling in param.opts if spelling.startswith("--")), None)
    return None if key in _COMMAND_LINE_ONLY else key


def _files() -> Iterator[tuple[str, bool]]:
    yield PROJECT_FILE, True
    config = os.environ.get("XDG_CONFIG_HOME")
    # A relative one is to be ignored (XDG Base Directory Specification, "Basics").
    root = config if config and os.path.isabs(config) else os.path.expanduser("~/.config")
    yield os.path.join(root, "fastoci", "config.toml"), False


def _of_variable(text: str, param: Any) -> object:  # noqa: ANN401 - as above
    """Return the value that a variable's text is: of an option that may be given many times one a line."""
    return [line for line in text.splitlines() if line] if param.multiple else text


def _of_file(path: str, command: str, options: Mapping[str, Any], *, is_project: bool) -> dict[str, _Setting]:
    """Return what a file says of a command's options; nothing, where there is no such file."""
    document = _read(path)
    if not document:
        return {}
    found: dict[str, _Setting] = {}
    tables: dict[str, object] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            tables[key] = value
        elif key in options or key in _all_options():
            found[key] = _Setting(value, f"{path}: {key}")
        else:
            raise _unknown(path, key, {*_all_options(), *_groups()})
    for word in tables:
        if word not in _groups():
            raise _unknown(path, word, {*_all_options(), *_groups()})
    table: object = tables
    for word in command.split():
        table = table.get(word, {}) if isinstance(table, dict) else {}
    if isinstance(table, dict):
        title = ".".join(command.split())
        for key, value in table.items():
            if key not in options:
                raise _unknown(path, f"{title}.{key}", {f"{title}.{known}" for known in options})
            found[key] = _Setting(value, f"{path}: {title}.{key}")
    if is_project:
        _refuse_strangers(found)
    return {key: setting for key, setting in found.items() if key in options}


def _refuse_strangers(found: Mapping[str, _Setting]) -> None:
    """Refuse what a project's file may not say.

    Raises:
        UsageError: It says it.
    """
    for key, setting in found.items():
        if (what := _NOT_FOR_A_PROJECT.get(key)) is not None:
            raise UsageError(
                f"{setting.where} may not be set here",
                cause=f"a project's file arrives with pull requests: it does not say {what}",
                hint=f"--{key}, FASTOCI_{key.upper().replace('-', '_')}, or ~/.config/fastoci/config.toml",
            )
        values = setting.value if isinstance(setting.value, list) else [setting.value]
        if key == "env" and any(isinstance(value, str) and "=" not in value for value in values):
            raise UsageError(
                f"{setting.where} may not take a variable of this host",
                cause="a project's file arrives with pull requests, and the variable may be a secret",
                hint="NAME=VALUE, or -e NAME on the command line",
            )


def _read(path: str) -> dict[str, Any]:
    try:
        # What waits for a writer, or is a device, is no file of settings.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        # In containers HOME is often that of somebody else, whose directories are closed: no setting is there for us.
        if error.errno == errno.EACCES and not os.path.lexists(path):
            return {}
        raise UsageError(f"cannot read the settings in {path}", cause=reason(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"cannot read the settings in {path}", cause="it is no regular file")
    with open(descriptor, "rb") as file:
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise UsageError(f"cannot read the settings in {path}", cause=f"it is longer than {_LIMIT:,} bytes")
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path} is no TOML", cause=cause) from error


def _checked(setting: _Setting, param: Any) -> object:  # noqa: ANN401 - as above
    """Return the value as the parser wants it.

    Raises:
        UsageError: It is of another type, or not one of those that the option takes.
    """
    value = setting.value
    if param.is_flag:
        return _boolean(setting)
    if param.multiple:
        values = value if isinstance(value, list) else [value]
        return [_text(setting, one) for one in values]
    # "integer range" in click, "int range" in typer's own copy of it.
    if param.type.name.startswith("int") and not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            raise setting.wrong(f"a whole number is wanted, not {_described(value)}")
        text = _digits(setting, value)
    else:
        text = _text(setting, value)
    try:
        param.type.convert(text, param, None)
    except typer.BadParameter as error:
        raise setting.wrong(" ".join(error.message.split()).rstrip(".")) from error
    return text


def _boolean(setting: _Setting) -> bool:
    value = setting.value
    if isinstance(value, str) and setting.is_variable:
        value = _BOOLEANS.get(value.lower(), value)
    if isinstance(value, bool):
        return value
    raise setting.wrong(f"true or false is wanted, not {_described(value)}")


def _text(setting: _Setting, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):  # `chown = 0`
        return _digits(setting, value)
    if hasattr(value, "isoformat"):  # `created = 2026-01-31T12:00:00Z`
        return str(value.isoformat())
    raise setting.wrong(f"a text is wanted, not {_described(value)}")


def _digits(setting: _Setting, value: int) -> str:
    try:
        return str(value)
    except ValueError as error:  # in hexadecimal TOML has numbers that Python writes in no other way
        raise setting.wrong("a number of thousands of digits is none that can be meant") from error


def _described(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "a table"}
    return names.get(type(value)) or repr(value)


def _groups() -> set[str]:
    """Return the tables that a file may have: the commands' names, and the first words of those that have two."""
    from fastoci.cli.app import COMMANDS

    return {name.split()[0] for name in COMMANDS}


def _all_options() -> set[str]:
    """Return the options of all commands, which takes a few hundredths of a second, and is seldom asked for."""
    from fastoci.cli.app import COMMANDS, function_of
    from fastoci.cli.command import parser_of

    return {
        key
        for name in COMMANDS
        for param in parser_of(name, function_of(name)).params
        if (key := long_name(param)) is not None
    }


def _unknown(path: str, key: str, known: set[str]) -> UsageError:
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    return UsageError(
        f"{path}: there is no setting {key!r}",
        hint=f"did you mean {near[0]!r}?" if near else "a key is an option's long name, or a table a command's",
    )
