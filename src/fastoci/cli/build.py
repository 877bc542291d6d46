"""`fastoci build`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from fastoci.cli import report, words
from fastoci.cli.configflags import BuildOutputFlags, ConfigFlags
from fastoci.cli.options import UploadFlags, parse_split
from fastoci.errors import UsageError
from fastoci.events import Warned

if TYPE_CHECKING:
    from fastoci.building.removals import Removals
    from fastoci.layer.options import LayerOptions
    from fastoci.tree.policy import TreePolicy

__all__ = ["run"]

_Many = list[str] | None


@dataclass(kw_only=True, eq=False, repr=False)
class TreeFlags:
    """What of the trees is packed, and how."""

    title: ClassVar[str] = "Trees and layers"

    threads: Annotated[
        int | None,
        typer.Option(
            "-T",
            "--threads",
            min=1,
            max=1024,
            metavar="N",
            help="Threads that read and compress.  [default: the CPUs there are]",
        ),
    ] = None
    compression: Annotated[Literal["gzip", "zstd", "none"], typer.Option(help="How layers are compressed.")] = "gzip"
    compression_level: Annotated[
        int,
        typer.Option(min=1, max=19, metavar="N", help="gzip: 1 to 3, 3 gives other bytes elsewhere; zstd: 1 to 19."),
    ] = 1
    exclude: Annotated[_Many, typer.Option(metavar="PATTERN", help="Leave out, as .dockerignore says it.")] = None
    ignorefile: Annotated[str | None, typer.Option(metavar="FILE", help="A file of such patterns.")] = None
    one_file_system: Annotated[
        bool,
        typer.Option(
            "--one-file-system", help="Leave out what other file systems hold; a mount point is an empty directory."
        ),
    ] = False
    chown: Annotated[
        str | None, typer.Option(metavar="UID[:GID]", help="Whose all of it becomes, in numbers.  [default: as found]")
    ] = None
    chmod: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="Which modes files get, as 755 or u=rwX,go=rX.  [default: as found]"),
    ] = None
    mtime: Annotated[
        str | None, typer.Option(metavar="keep|EPOCH", help="Which modification time files get.  [default: keep]")
    ] = None
    xattrs: Annotated[bool, typer.Option("--xattrs/--no-xattrs", help="Keep extended attributes.")] = True
    whiteouts: Annotated[
        Literal["refuse", "keep"], typer.Option(help="What to do with a file named .wh.*, which removes one below.")
    ] = "refuse"
    source_date_epoch: Annotated[
        str | None,
        typer.Option(metavar="N", help="Created then, and no mtime after it.  [default: $SOURCE_DATE_EPOCH]"),
    ] = None

    def policy(self) -> "TreePolicy":
        """Return what becomes of the trees' entries."""
        from fastoci.tree.patterns import read_ignorefile
        from fastoci.tree.policy import TreePolicy

        uid, gid = (None, None) if self.chown is None else words.parse_owner(self.chown)
        lines = () if self.ignorefile is None else read_ignorefile(self.ignorefile)
        patterns = (*lines, *(self.exclude or ()))
        if self.chmod is not None:
            from fastoci.tree.chmod import parse_chmod

            parse_chmod(self.chmod)  # what is no mode is said before anything is done
        mtime = None if self.mtime in {None, "keep"} else words.parse_mtime(self.mtime or "")
        return TreePolicy(
            uid=uid,
            gid=gid,
            mtime=mtime,
            chmod=self.chmod,
            xattrs=self.xattrs,
            whiteouts=self.whiteouts,
            patterns=patterns,
            one_file_system=self.one_file_system,
        )

    def layer(self) -> "LayerOptions":
        """Return how layers are made."""
        from fastoci.layer.options import LayerOptions

        return LayerOptions(threads=self.threads, compression=self.compression, level=self.compression_level)

    def epoch(self) -> int | None:
        """Return SOURCE_DATE_EPOCH, of the command line or the environment."""
        if self.source_date_epoch is not None:
            return words.parse_epoch(self.source_date_epoch, "--source-date-epoch")
        value = os.environ.get("SOURCE_DATE_EPOCH")
        return words.parse_epoch(value, "SOURCE_DATE_EPOCH") if value else None


@dataclass(kw_only=True, eq=False, repr=False)
class DestinationFlags:
    """Where the image goes."""

    title: ClassVar[str] = "Where it goes"

    tag: Annotated[_Many, typer.Option("-t", "--tag", metavar="REF", help="A name for the image.")] = None
    output: Annotated[
        _Many,
        typer.Option(
            "-o",
            "--output",
            metavar="DEST",
            help="oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, DIR, -, or type=oci,dest=FILE as in buildx.  "
            "[default: ./NAME.oci, where nothing else is asked for]",
        ),
    ] = None
    push: Annotated[bool, typer.Option("--push", help="Push it to the registries of its names.")] = False
    load: Annotated[
        bool,
        typer.Option(
            "--load",
            help="Load it into docker, podman or containerd, the first that answers; --load=podman says which.",
        ),
    ] = False
    load_into: Annotated[str | None, typer.Option("--load-into", hidden=True)] = None
    by_digest: Annotated[bool, typer.Option("--by-digest", help="Push it without a tag.")] = False
    mount_from: Annotated[
        str | None, typer.Option(metavar="REPO", help="A repository at the registry that may have some of the blobs.")
    ] = None


def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SRC[:/DEST]...",
            help="Directories, tar archives, and files with a /DEST; - is a tar on stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    base: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="IMAGE",
            help="The image beneath, whose config is inherited: a reference, oci:DIR[:TAG], oci-archive:FILE[:TAG], "
            "docker-archive:FILE, or a path.  [default: scratch, which is nothing]",
        ),
    ] = None,
    layer: Annotated[
        _Many,
        typer.Option(metavar="FILE.json", help="A layer that `layer pack` made, to stand between base and sources."),
    ] = None,
    delete: Annotated[_Many, typer.Option(metavar="PATH", help="Take away what the layers below have there.")] = None,
    opaque: Annotated[
        _Many, typer.Option(metavar="DIR", help="Take away all that the layers below have in a directory.")
    ] = None,
    diff: Annotated[
        str | None,
        typer.Option(
            metavar="BASE",
            help="Pack what SRC changes of the tree BASE.  With --from and no SRC: what the tree named here changes "
            "of the image.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE|N",
            help="Spread each tree over layers of about SIZE, as 512M, or over N layers at most; they are packed and "
            "sent at once, and a change in one place changes few of them.  [default: one layer]",
        ),
    ] = None,
    destination: DestinationFlags,
    config: ConfigFlags,
    tree: TreeFlags,
    files: report.FileFlags,
    registry: UploadFlags,
    output: BuildOutputFlags,
) -> None:
    """Make an image of directory trees, files or tar archives, one layer each, or several."""
    from fastoci.build import build
    from fastoci.building.output import STDOUT, Output
    from fastoci.layer.cpus import available_cpus
    from fastoci.spec.platform import Platform

    # An archive on stdout is the result, and anything beside it would be part of the archive.
    on_stdout = any(Output.parse(text).path == STDOUT for text in destination.output or ())
    if on_stdout and output.json:
        raise UsageError("stdout is for one: the archive of -o, or the document of --json", hint="use --metadata-file")
    with output.console() as console:
        options = config.options(lambda message, hint: console.sink(Warned(message, hint)))
        making, policy, epoch, reached = tree.layer(), tree.policy(), tree.epoch(), registry.options()
        level = "" if making.compression == "none" else f":{making.level}"
        platform = options.platform or Platform.host()
        console.headline(f"{platform} {making.compression}{level} threads={making.threads or available_cpus()}")
        removals = _removals(delete or [], opaque or [])
        sources, compared = _compared(sources or [], diff, has_layers=base not in {None, "scratch"} or bool(layer))
        files.prepare()
        result = build(
            sources,
            tags=destination.tag or (),
            outputs=destination.output or (),
            push=destination.push,
            load=destination.load_into or destination.load,
            config=options,
            policy=policy,
            layer=making,
            registry=reached,
            source_date_epoch=epoch,
            base=None if base == "scratch" else base,
            packed=layer or (),
            removals=removals,
            diff=compared,
            split=None if split is None else parse_split(split),
            by_digest=destination.by_digest,
            mount_from=destination.mount_from,
            sink=console.sink,
        )
        files.write(result)
    if not on_stdout:
        console.result(result.names, report.document(result) if output.json else None)


def _compared(
    sources: list[str], diff: str | None, *, has_layers: bool
) -> "tuple[list[str], str | Literal[True] | None]":
    """Return the sources, and what the one of them is compared with: a tree, or the layers below."""
    if diff is None or sources:
        return sources, diff
    if not has_layers:
        raise UsageError(
            f"nothing to compare {diff} with",
            cause="there is neither a SRC nor an image beneath",
            hint=f"--diff BASE {diff}, or --from IMAGE --diff {diff}",
        )
    return [diff], True


def _removals(delete: list[str], opaque: list[str]) -> "Removals | None":
    if not (delete or opaque):
        return None
    from fastoci.building.removals import Removals

    return Removals.parse(delete, opaque)
