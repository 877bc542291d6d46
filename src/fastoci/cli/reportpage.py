"""A report as one page of HTML that needs nothing beside it: no script, no font, no network.

Names of files and texts of configs are other people's: all of them are escaped, and the page forbids itself everything
but its own styles, should one slip through.
"""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING

from fastoci.cli.console import printable
from fastoci.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fastoci.report import Report

__all__ = ["page"]

_LEAST_SHARE = 200  # a directory of less than a two hundredth of the image is not shown by itself
_DEEPEST = 8

_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #8884; padding: .2em .6em .2em 0; text-align: left; vertical-align: top }}
td.n, th.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }}
code {{ font-size: .9em; overflow-wrap: anywhere }}
details {{ margin-left: 1.2em }}
meter {{ width: 12em; vertical-align: middle }}
</style>
"""


def page(report: Report) -> str:
    """Return the page."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    image = report.image
    yield _HEAD.format(title=_text(image.name)).rstrip("\n")
    yield f"<h1>{_text(image.name)}</h1>"
    yield _table(_facts(report))
    yield "<h2>Layers</h2>"
    yield from _layers(report)
    yield "<h2>Directories</h2>"
    yield f"<p>Those with at least a {_LEAST_SHARE}th of the bytes.</p>"
    yield from _directory(report, "", _children(report.directories), 0)
    yield f"<h2>The {len(report.files):,} largest files</h2>"
    yield "<table><tr><th class=n>size<th>path"
    for path, size in report.files:
        yield f"<tr><td class=n>{format_size(size)}<td><code>/{_text(path)}</code>"
    yield "</table>"
    yield "</html>"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    image, config = report.image, report.image.config
    yield "digest", _code(image.descriptor.digest)
    yield "size", _text(f"{format_size(image.size)} compressed, {format_size(report.size)} of files")
    yield "entries", _text(_counts(report.kinds))
    if config is not None:
        said = {
            "platform": str(config.platform),
            "created": config.created,
            "author": config.author,
            "entrypoint": None if config.entrypoint is None else json.dumps(list(config.entrypoint)),
            "cmd": None if config.cmd is None else json.dumps(list(config.cmd)),
            "workdir": config.working_dir,
            "user": config.user,
            "ports": " ".join(config.exposed_ports),
            "volumes": " ".join(config.volumes),
        }
        for name, value in said.items():
            if value:
                yield name, _text(value)
        for entry in config.env:
            yield "env", _code(entry)
        for name, value in sorted(config.labels.items()):
            yield "label", _code(f"{name}={value}")
    for name, value in sorted((image.document.annotations or {}).items()):
        yield "annotation", _code(f"{name}={value}")


def _layers(report: Report) -> Iterator[str]:
    yield "<table><tr><th class=n>#<th>layer<th class=n>compressed<th class=n>files<th class=n>ratio<th class=n>hidden"
    for number, found in enumerate(report.layers, 1):
        layer = found.layer
        lines = [_code(layer.descriptor.digest)]
        if layer.created_by:
            lines.append(_text(layer.created_by))
        lines.append(_text(_counts(found.kinds)))
        ratio = f"{100 * layer.descriptor.size / found.size:.0f} %" if found.size else ""
        yield (
            f"<tr><td class=n>{number}<td>{'<br>'.join(lines)}<td class=n>{format_size(layer.descriptor.size)}"
            f"<td class=n>{format_size(found.size)}<td class=n>{ratio}<td class=n>{format_size(found.hidden)}"
        )
    yield "</table>"
    yield "<p>Hidden is what later layers have replaced or removed: it is stored and sent, and nobody sees it.</p>"


def _directory(report: Report, path: str, children: Mapping[str, list[str]], depth: int) -> Iterator[str]:
    size, count = report.directories[path]
    name = path.rpartition("/")[2] if path else ""
    share = size / report.size if report.size else 0.0
    label = (
        f"<meter value={share:.4f}></meter> {format_size(size)} <code>{_text(name)}/</code> "
        f"{count:,} file{'' if count == 1 else 's'}"
    )
    shown = [child for child in children.get(path, ()) if report.directories[child][0] * _LEAST_SHARE >= report.size]
    if not shown or not report.size or depth == _DEEPEST:
        yield f"<details open><summary>{label}</summary></details>"
        return
    yield f"<details{' open' if depth < 2 else ''}><summary>{label}</summary>"
    for child in sorted(shown, key=lambda child: (-report.directories[child][0], child)):
        yield from _directory(report, child, children, depth + 1)
    yield "</details>"


def _children(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        if path:
            found.setdefault(path.rpartition("/")[0], []).append(path)
    return found


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{name}<td>{value}" for name, value in rows) + "</table>"


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items())) or "nothing"


def _code(value: object) -> str:
    return f"<code>{_text(str(value))}</code>"


def _text(text: str) -> str:
    return html.escape(printable(text))
