"""From a function `run` to a command: groups of flags spread out for typer, and typer's own errors made ours."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from typing import TYPE_CHECKING, Any

import typer
import typer.core

from fastoci.cli.console import unwritable
from fastoci.cli.settings import read_settings
from fastoci.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["invoke", "parser_of", "spread"]

# From 0.26 on typer brings its own copy of click. The base class of the one error that it exports under either regime
# is that of everything its parser raises.
_PARSER_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

# Flags whose value may be left out, as buildah has them: `--load=podman` is read as `--load --load-into=podman`.
_OPTIONAL_VALUES = {"--load": "--load-into"}

_HELP_WIDTH = 110  # columns at the most: longer lines are hard to read

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def invoke(name: str, function: Callable[..., None], arguments: Sequence[str]) -> int:
    """Parse the arguments of one command and run it.

    Args:
        name: The command's name, for its usage line.
        function: The command; a parameter annotated with a dataclass stands for that class's fields as options.
        arguments: What follows the command's name.

    Returns:
        The exit code: 0, or what the function raised as `typer.Exit`.

    Raises:
        UsageError: The arguments are not those of the command.
        FastociError: Whatever the command raises.
    """
    command = parser_of(name, function)
    title, words = f"fastoci {name}", list(_spelled_out(arguments, command.params))
    try:
        # The command line is judged first: its mistakes and `--help` need no settings.
        context = _first_context(command, title, list(words))
        if settings := read_settings(name, command.params, _OPTIONAL_VALUES):
            context = command.make_context(title, words, default_map=settings)
        with context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except _PARSER_ERROR as error:
        raise _usage_error(error, name) from error
    return 0


def _usage_error(error: Any, name: str) -> UsageError:  # noqa: ANN401 - click's, whichever click
    """Return what the parser says in our form: one line, lower case, no full stop, and what to do next apart."""
    hint = f"fastoci {name} --help"
    if near := getattr(error, "possibilities", None):
        hint = f"did you mean {' or '.join(near)}? fastoci {name} --help lists all"
    message = " ".join((error.message if near else error.format_message()).split()).rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _first_context(command: Any, title: str, words: list[str]) -> Any:  # noqa: ANN401 - as `parser_of` has it
    try:
        return command.make_context(title, words)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Nothing is written there but the help, which the parser writes itself.
        raise unwritable(error) from error


def parser_of(name: str, function: Callable[..., None]) -> Any:  # noqa: ANN401 - click's Command, whichever click
    """Return what parses the arguments of a command.

    Args:
        name: See `invoke`.
        function: See `invoke`.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": _HELP_WIDTH}
    app.command(name, cls=_Command, context_settings=settings)(spread(function))
    command = typer.main.get_command(app)
    command.titles = _titles(function)  # type: ignore[attr-defined]  # of _Command
    return command


class _Command(typer.core.TyperCommand):
    """A command whose help shows its options in groups, for some have dozens.

    Attributes:
        titles: What stands above the options of a group, by the name of each option's parameter.
    """

    titles: dict[str, str]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002, ANN401 - click's, whichever click
        """Return the words of the usage line as man pages have them: `IMAGE [REF...]`."""
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        words = [str(argument.metavar or argument.name) for argument in arguments]
        return ["[OPTION]...", *(
            word if argument.required else f"[{word}]" for argument, word in zip(arguments, words, strict=True)
        )]  # fmt: skip

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's, whichever click
        """Write the arguments, the options of no group, and then one group after the other."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                if getattr(param, "multiple", False):
                    record = record[0], f"{record[1]}  [may be repeated]"
                own = "Arguments" if param.param_type_name == "argument" else "Options"
                sections.setdefault(self.titles.get(param.name or "", own), []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _titles(function: Callable[..., None]) -> dict[str, str]:
    """Return what stands above the options of a group, which its class says."""
    return {
        field.name: kind.title
        for kind in typing.get_type_hints(function, include_extras=True).values()
        if _is_group(kind)
        for field in dataclasses.fields(kind)
    }


def _is_group(kind: object) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def spread(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function whose parameters are those of `function`, with each dataclass replaced by its fields.

    Several commands share the same dozen options; they take them as one value, and typer sees them one by one.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if not _is_group(kind):
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        field_hints = typing.get_type_hints(kind, include_extras=True)
        groups[parameter.name] = kind, [field.name for field in dataclasses.fields(kind)]
        parameters.extend(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field_hints[field.name]
            )
            for field in dataclasses.fields(kind)
        )

    def command(**values: Any) -> None:  # noqa: ANN401 - whatever typer parsed
        for group, (kind, names) in groups.items():
            values[group] = kind(**{field: values.pop(field) for field in names})
        function(**values)

    command.__doc__ = function.__doc__
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    return command


def _spelled_out(arguments: Sequence[str], params: Iterable[Any]) -> Iterator[str]:
    """Yield the arguments with `--flag=VALUE`, which podman and buildx take and click does not, spelled out.

    The value of an option is passed on unread, whatever it looks like: `--cmd --tls-verify=false` is a word for the
    image.
    """
    flags: dict[str, Any] = {}
    valued: set[str] = set()
    for param in params:
        is_flag = getattr(param, "is_flag", False) or getattr(param, "count", False)
        for spelling in (*param.opts, *param.secondary_opts):
            if is_flag:
                flags[spelling] = param
            elif spelling.startswith("-"):
                valued.add(spelling)

    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            yield argument
            yield from rest
            return
        option, equals, value = argument.partition("=")
        if option.startswith("--") and equals and option in flags:
            yield from _spell_flag(option, value, flags[option])
            continue
        yield argument
        if argument in valued or (_is_cluster(argument) and _cluster_wants_value(argument, valued)):
            yield from _take_one(rest)


def _spell_flag(option: str, value: str, flag: Any) -> Iterator[str]:  # noqa: ANN401 - click's Option, whichever click
    wanted = _BOOLEANS.get(value.lower())
    if wanted is True:
        yield option
    elif wanted is False:
        yield from flag.secondary_opts[:1]
    elif option in _OPTIONAL_VALUES:
        yield option
        yield f"{_OPTIONAL_VALUES[option]}={value}"
    else:
        raise UsageError(f"{option} takes true or false, not {value!r}")


def _is_cluster(argument: str) -> bool:
    return len(argument) > 1 and argument[0] == "-" and argument[1] != "-"


def _cluster_wants_value(argument: str, valued: set[str]) -> bool:
    for position, letter in enumerate(argument[1:], 2):
        if f"-{letter}" in valued:
            return position == len(argument)
    return False


def _take_one(rest: Iterator[str]) -> Iterator[str]:
    for argument in rest:
        yield argument
        return
