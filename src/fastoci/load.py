"""Load: an image from anywhere into the container engine on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from fastoci.building.targets import ArchiveTarget, NewImage, copy_layers
from fastoci.ending import Ending, ending_context
from fastoci.errors import EngineError, StoreError, UsageError, reason
from fastoci.events import ImageLoaded, Sink, discard
from fastoci.images.documents import select_manifest
from fastoci.images.source import open_image
from fastoci.registry.options import RegistryOptions
from fastoci.spec.manifest import Manifest
from fastoci.threads import Crew

if TYPE_CHECKING:
    from io import BufferedReader

    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["ENGINES", "LoadedImage", "load"]

_ANSWER_SECONDS = 10.0
_WORDS_LIMIT = 64 * 1024
_HINT = "start docker, podman or containerd, or write an archive: -o docker-archive:FILE"


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine as its command line client drives it.

    Attributes:
        name: What it is called.
        program: The client.
        probe: Arguments of a command that succeeds if the engine is there.
        load: Arguments of the command that reads an archive from stdin.
    """

    name: str
    program: str
    probe: tuple[str, ...]
    load: tuple[str, ...]


ENGINES = {
    engine.name: engine
    for engine in (
        # `docker version` asks the daemon; podman has none to ask.
        Engine("docker", "docker", ("version", "--format", "{{.Server.Version}}"), ("load", "--quiet")),
        Engine("podman", "podman", ("--version",), ("load", "--quiet")),
        Engine("containerd", "ctr", ("version",), ("images", "import", "-")),
    )
}


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image that an engine has taken.

    Attributes:
        engine: `docker`, `podman` or `containerd`.
        name: What the engine knows it by: its first tag, or the digest of its config, docker's image ID.
        digest: The digest of its manifest.
    """

    engine: str
    name: str
    digest: Digest


def load(
    image: str | ImageName,
    tags: Sequence[str] = (),
    *,
    engine: str | None = None,
    platform: Platform | None = None,
    registry: RegistryOptions | None = None,
    sink: Sink = discard,
) -> LoadedImage:
    """Load an image into docker, podman or containerd.

    Args:
        image: Which image, from a layout, an archive or a registry.
        tags: Whole references that the engine shall know it by; without any it has no name there.
        engine: Which engine; None or `auto` takes the first of docker, podman and containerd that answers.
        platform: Which member of an index; None is this host's.
        registry: How a registry is reached, where the image is in one.
        sink: Given the events of the work.

    Raises:
        UsageError: There is no engine of that name.
        EngineError: No engine answers, or it did not take the image.
        StoreError: The image cannot be read.
    """
    chosen = find_engine(engine)
    with open_image(image, registry or RegistryOptions(), sink) as source:
        descriptor = select_manifest(source, source.resolve(), platform)
        document = source.read_manifest(descriptor)
        manifest = Manifest.from_bytes(document)
        config = source.read_blob(manifest.config)
        copy = NewImage(descriptor, manifest.layers, ((manifest.config, config), (descriptor, document)))
        with _running(chosen) as stdin, ExitStack() as stack:
            target = ArchiveTarget(stdin, stack)
            copy_layers(source, target, manifest.layers)
            target.finish(copy, tags)
    name = tags[0] if tags else str(manifest.config.digest)
    sink(ImageLoaded(chosen.name, name))
    return LoadedImage(chosen.name, name, descriptor.digest)


def find_engine(name: str | None = None) -> Engine:
    """Return the engine of that name, or of None and `auto` the first that answers.

    Raises:
        UsageError: There is no engine of that name.
        EngineError: Its client is not installed, or no engine answers.
    """
    if name is not None and name != "auto":
        engine = ENGINES.get(name)
        if engine is None:
            raise UsageError(f"no such engine: {name!r}", hint=", ".join(ENGINES))
        if shutil.which(engine.program) is None:
            raise EngineError(f"{name} is not here", cause=f"no {engine.program} on PATH", hint=_HINT)
        return engine
    causes = []
    for engine in ENGINES.values():
        answer = _probe(engine)
        if answer is None:
            return engine
        causes.append(f"{engine.name}: {answer}")
    raise EngineError("no container engine answers", cause="; ".join(causes), hint=_HINT)


def _probe(engine: Engine) -> str | None:
    """Return None if the engine answers, else why not."""
    path = shutil.which(engine.program)
    if path is None:
        return f"no {engine.program} on PATH"
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command, found on PATH as a shell would
            [path, *engine.probe],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_ANSWER_SECONDS:.0f} seconds"
    except OSError as error:
        return reason(error)
    return None if answer.returncode == 0 else _last_words(answer.stderr) or f"exit code {answer.returncode}"


@ending_context
def _running(engine: Engine) -> Iterator[BinaryIO]:
    """Run the engine's command that reads an archive from its stdin, which is yielded; leave when it has taken it.

    Raises:
        EngineError: It ended with an error, or could not be started.
    """
    with _Client(engine) as client:
        try:
            yield client.stdin
            client.stdin.close()
        except (StoreError, BrokenPipeError) as error:
            # It hung up before it had everything: what it has to say about that is the cause.
            if not _is_broken_pipe(error) or client.wait() == 0:
                raise
        code = client.wait()
        if code != 0:
            cause = client.last_words() or f"{engine.program} ended with exit code {code}"
            raise EngineError(f"{engine.name} did not take the image", cause=cause, hint=_HINT)


class _Client(Ending):
    """An engine's command at work; what it says is read meanwhile, so that it never waits for a reader."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""  # the end of it
        self._crew = Crew(self._kill, _ANSWER_SECONDS)

    def begin(self) -> None:
        command = [self._engine.program, *self._engine.load]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - as above
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise EngineError(f"cannot start {self._engine.program}", cause=reason(error)) from error
        stream = cast("BufferedReader", self._process.stdout)
        try:
            self._reader = self._crew.start("fastoci-engine", lambda: self._read(stream))
        except BaseException:
            stream.close()
            raise

    def end(self) -> None:
        self._crew.cancel()
        if self._process is not None:
            with suppress(OSError):
                self.stdin.close()

    @property
    def stdin(self) -> BinaryIO:
        return cast("BinaryIO", self._running.stdin)

    def wait(self) -> int:
        return self._running.wait()

    def last_words(self) -> str:
        """Return its last line, which is where programs say why they gave up; it has ended."""
        self._reader.join(_ANSWER_SECONDS)
        return _last_words(self._said)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None  # noqa: S101 - it has begun
        return self._process

    def _kill(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()

    def _read(self, stream: BufferedReader) -> None:
        with stream:
            while piece := stream.read1(_WORDS_LIMIT):
                self._said = (self._said + piece)[-_WORDS_LIMIT:]


def _is_broken_pipe(error: BaseException | None) -> bool:
    return error is not None and (isinstance(error, BrokenPipeError) or _is_broken_pipe(error.__cause__))


def _last_words(data: bytes) -> str:
    lines = data.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
