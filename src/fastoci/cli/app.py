"""The commands by name, and how a run ends: every exception becomes three lines on stderr and an exit code.

A command is a module of this package with a function `run`, whose parameters are typer's (`Annotated`) or a group of
flags of `options.py`. Its module is imported only when the command runs; `fastoci --help` imports none, nor typer.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from fastoci.cli.console import print_error, write_stdout
from fastoci.errors import FastociError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["COMMANDS", "run"]

# Each command's module is `fastoci.cli.<name>`, with `_` for a space; the summary is the first line of its `run`, which
# a test compares.
COMMANDS = {
    "build": "Make an image of directory trees, files or tar archives, one layer each, or several.",
    "push": "Push an image on disk to registries.",
    "pull": "Pull an image from a registry into a layout or an archive.",
    "copy": "Copy an image between registries, layouts and archives.",
    "layer pack": "Make one layer of a directory tree, a file or a tar archive, for a build elsewhere.",
    "index create": "Join images that stand already, each for its platform, into an index.",
    "config set": "Give an image that stands already another config.",
    "report": "Write a page of HTML about an image: what is in its layers, and how large.",
    "diff": "Show what differs between two images: config, layers and files.",
    "rebase": "Put the layers of an image on another base, without building it again.",
    "gc": "Remove from a layout what none of its images needs.",
    "tag": "Give an image more tags, where it stands.",
    "ls": "List the tags of a repository, or the images of a layout or archive.",
    "digest": "Show the digest of an image.",
    "manifest": "Show the manifest of an image, or its index, byte for byte.",
    "inspect": "Show what an image is: platform, config, and layers with sizes and digests.",
    "validate": "Check every digest, size, diff_id, media type and reference of an image.",
    "unpack": "Unpack an image's layers beneath a directory.",
    "login": "Store credentials for a registry where docker and podman find them.",
    "logout": "Remove the stored credentials of a registry.",
}

# Two commands of one file, and one whose name is that of another file.
_MODULES = {"logout": "login", "report": "report_image"}
_FUNCTIONS = {"logout": "run_logout"}

INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code, as `fastoci.errors` has it.
    """
    try:
        return _dispatch(list(arguments))
    except FastociError as error:
        _traceback_if_asked()
        print_error(error.what, cause=error.cause, hint=error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        _traceback_if_asked()
        print_error("interrupted")
        return INTERRUPTED
    except SystemExit as end:
        # Raised by the handler of SIGTERM and SIGHUP.
        print_error("terminated")
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:
        # Whoever read our stdout has gone. What is still buffered would raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError as error:
        _traceback_if_asked()
        print_error(
            "out of memory",
            cause=str(error) or None,
            hint="ask for fewer --threads or --jobs, or raise the limit (ulimit -v, a container's memory)",
        )
        return 1
    except Exception as error:
        _traceback_if_asked()
        print_error(
            f"internal error: {type(error).__name__}: {error}",
            hint="this is a bug in fastoci; FASTOCI_LOG=debug shows where",
        )
        return 1


def _dispatch(arguments: list[str]) -> int:
    match arguments:
        case []:
            sys.stderr.write(_help())
            return UsageError.exit_code
        case ["-h" | "--help", *_] | ["help"]:
            write_stdout([_help().rstrip("\n")])
            return 0
        case ["--version", *_]:
            from fastoci.version import __version__

            write_stdout([f"fastoci {__version__}"])
            return 0
        case ["help", *names]:
            return _dispatch([*names, "--help"])
        case [name, *rest] if name in COMMANDS:
            return _run_command(name, rest)
        case [group, name, *rest] if f"{group} {name}" in COMMANDS:
            return _run_command(f"{group} {name}", rest)
        case [group] if _in_group(group):
            sys.stderr.write(_help(_in_group(group)))
            return UsageError.exit_code
        case [group, "-h" | "--help"] if _in_group(group):
            write_stdout([_help(_in_group(group)).rstrip("\n")])
            return 0
        case [group, name, *_] if _in_group(group):
            raise UsageError(f"no such command: {group} {name}", hint=f"`fastoci {group} --help` lists the commands")
        case [name, *_]:
            raise UsageError(f"no such {'option' if name.startswith('-') else 'command'}: {name}", hint=_hint(name))
    raise AssertionError(arguments)


def _run_command(name: str, arguments: list[str]) -> int:
    from fastoci.cli import allocator, signals
    from fastoci.cli.command import invoke

    allocator.tune_allocator()
    signals.install()
    return invoke(name, function_of(name), arguments)


def function_of(name: str) -> Callable[..., None]:
    """Import a command's module and return its function."""
    function: Callable[..., None] = getattr(
        importlib.import_module(f"fastoci.cli.{module_of(name)}"), _FUNCTIONS.get(name, "run")
    )
    return function


def module_of(name: str) -> str:
    """Return the name of a command's module in this package."""
    return _MODULES.get(name, name.replace(" ", "_"))


def _in_group(group: str) -> dict[str, str]:
    return {name: summary for name, summary in COMMANDS.items() if name.startswith(f"{group} ")}


def _hint(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"did you mean `fastoci {near[0]}`?" if near else "`fastoci --help` lists the commands"


def _help(commands: Mapping[str, str] = COMMANDS) -> str:
    width = max(map(len, commands)) + 2
    lines = [
        "Usage: fastoci [--version] [--help] COMMAND ...",
        "",
        "Turns directory trees into OCI images and delivers them to registries and engines.",
        "",
        "Commands:",
        *(f"  {name:<{width}}{summary}" for name, summary in commands.items()),
        "",
        "`fastoci COMMAND --help` tells the options of a command. What the command line leaves out may",
        "stand in variables, as FASTOCI_THREADS, in ./fastoci.toml, and in ~/.config/fastoci/config.toml.",
        "",
    ]
    return "\n".join(lines)


def _traceback_if_asked() -> None:
    if os.environ.get("FASTOCI_LOG") == "debug":
        import traceback

        traceback.print_exc(file=sys.stderr)
