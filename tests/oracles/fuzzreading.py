"""Reading what strangers wrote: `python -m oracles.fuzzreading [--seconds N] [--seed S] [--round R]`.

Each round is made from a number of its own: an archive, a document or a text with something changed in it, and given
to one of the readers. It must end in a value or in one of the errors that fastoci declares, said in words, within a few
seconds of CPU; and the memory of the process must stay within bounds. A failure names the round to run again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

from fastoci.build import build
from fastoci.building.packedlayer import BLOB, DEST, DIFF, DIFF_ID, open_layer
from fastoci.cli.app import function_of
from fastoci.cli.command import parser_of
from fastoci.cli.settings import read_settings
from fastoci.diff import diff
from fastoci.errors import FastociError
from fastoci.events import discard
from fastoci.inspect import inspect
from fastoci.layer.options import LayerOptions
from fastoci.listing import list_images
from fastoci.registry.auth import _life
from fastoci.registry.authfile import AuthDocument, AuthFileError
from fastoci.registry.challenge import parse_challenges
from fastoci.registry.options import RegistryOptions
from fastoci.registry.response import parse_object
from fastoci.registry.statedir import StateDirectory
from fastoci.report import make_report
from fastoci.rootfs.limits import Limits
from fastoci.spec import canonical
from fastoci.spec.config import ImageConfig
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.imagename import ImageName
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.spec.platform import Platform
from fastoci.spec.reference import Reference
from fastoci.tree.patterns import compile_patterns, read_ignorefile
from fastoci.unpack import unpack
from fastoci.validate import validate
from imagekit import CONFIG, GZIP, INDEX, MANIFEST, LayoutKit
from oracles.hostile import ARCHIVES, FILE, archive, changed_archive, changed_document, changed_text

SECONDS = 5.0
"""Of CPU, that one reading may take on a slow machine; the slowest seen takes a fifth of it."""

MEMORY = 400 << 20
"""Bytes that the process may grow by, over all rounds."""

LIMITS = Limits(entries=30_000, size=1 << 26)
DECLARED = (FastociError, AuthFileError)
DIGEST = "sha256:" + "0" * 64


class UndeclaredError(AssertionError):
    """What must not happen: another exception than a declared one, or too much time."""


def attempt(read: Callable[[], object]) -> str | None:
    """Read, and return what the error is that is said, None where there is none.

    Raises:
        UndeclaredError: It failed otherwise, said nothing, or took too long.
    """
    started = time.thread_time()
    said = None
    try:
        read()
    except DECLARED as error:
        said = str(error)
        what = getattr(error, "what", said)
        if not what or "\n" in what or len(said) > 5000:
            raise UndeclaredError(f"an error that says little, or too much: {said[:300]!r}") from error
    except Exception as error:
        raise UndeclaredError(f"{type(error).__name__}: {str(error)[:300]}") from error
    took = time.thread_time() - started
    if took > SECONDS:
        raise UndeclaredError(f"it took {took:.1f} s")
    return said


# --- archives: as a layer, as an archive of images, as a source ------------------------------------------------------


def image_of(tar: bytes, path: Path) -> str:
    """Make a layout with an image of one layer, whatever that holds, and return the image's name."""
    kit = LayoutKit(path)
    layer = kit.blob(gzip.compress(tar, 1), GZIP)
    config = kit.blob(json.dumps(kit.config([tar])).encode(), CONFIG)
    kit.add(kit.manifest(config, [layer]), "1")
    return f"oci:{kit}:1"


def read_as_layer(tar: bytes, directory: Path) -> Iterator[str | None]:
    """Validate, unpack, compare and report an image with this layer, and build upon it."""
    image, other = image_of(tar, directory / "layout"), image_of(FILE, directory / "other")
    target = directory / "root"
    platform = Platform("linux", "amd64")
    yield attempt(lambda: validate(image))
    said = attempt(lambda: unpack(image, str(target), platform=platform, limits=LIMITS))
    if said is not None and target.exists():
        raise UndeclaredError(f"{said}, and {sorted(os.listdir(target))[:5]} is left")
    yield said
    yield attempt(lambda: diff(image, other, platform=platform))
    yield attempt(lambda: make_report(image, platform=platform))
    (directory / "tree").mkdir()
    yield attempt(
        lambda: build(
            [f"{directory}/tree:/d/l/f/new"],
            outputs=[f"oci:{directory}/built"],
            base=image,
            layer=LayerOptions(threads=1),
        )
    )


def read_as_archive(tar: bytes, directory: Path) -> Iterator[str | None]:
    """Look into an archive of images."""
    path = directory / "archive.tar"
    path.write_bytes(tar)
    for transport in ("oci-archive", "docker-archive"):
        yield attempt(lambda name=f"{transport}:{path}": inspect(name))  # type: ignore[misc]
    yield attempt(lambda: list_images(f"oci-archive:{path}"))
    yield attempt(lambda: validate(str(path)))


def read_as_source(tar: bytes, directory: Path) -> Iterator[str | None]:
    """Build an image of a tar archive."""
    path = directory / "source.tar"
    path.write_bytes(tar)
    yield attempt(
        lambda: build(
            [str(path)], outputs=[f"oci:{directory}/image"], layer=LayerOptions(threads=1, compression="none")
        )
    )


TAR_READERS = (read_as_layer, read_as_archive, read_as_source)


def image_archive(directory: Path, rng: random.Random) -> bytes:
    """Return a good archive of an image with something changed in it."""
    kit = LayoutKit(directory / "good")
    kit.add(kit.image(), "1")
    data = bytearray(kit.archive(directory / "good.tar").read_bytes())
    for _ in range(rng.choice((1, 3, 10))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])


# --- documents -------------------------------------------------------------------------------------------------------

DESCRIPTOR = {
    "mediaType": GZIP,
    "digest": DIGEST,
    "size": 3,
    "annotations": {DIFF_ID: DIGEST, "org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
    "urls": ["https://example.com/blob"],
    "data": "YWJj",
    "platform": {"os": "linux", "architecture": "arm64", "variant": "v8", "os.features": ["a"]},
}
AUTHS = {
    "auths": {"example.com": {"auth": "dXNlcjpwYXNz"}, "https://index.docker.io/v1/": {"identitytoken": "t"}},
    "credHelpers": {"example.org": "none"},
    "credsStore": "",
}


def read_manifest(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """Documents of an image, one by one."""
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": DESCRIPTOR, "layers": [DESCRIPTOR, DESCRIPTOR]}
    data = changed_document(rng, {**document, "annotations": {"a": "b"}, "subject": DESCRIPTOR})
    yield lambda: Manifest.from_bytes(data).to_bytes()
    yield lambda: Index.from_bytes(data).to_bytes()


def read_index(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """An index, and what is looked for in it."""
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [DESCRIPTOR, DESCRIPTOR], "annotations": {}}
    data = changed_document(rng, document)
    yield lambda: Index.from_bytes(data).to_bytes()
    yield lambda: Index.from_bytes(data).for_platform(Platform("linux", "arm64"))
    yield lambda: Manifest.from_bytes(data)


def read_config(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """The config of an image."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05.123456789Z",
        "author": "me",
        "config": {
            "Env": ["A=b"],
            "Cmd": ["x"],
            "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/v": {}},
            "Healthcheck": {"Test": ["CMD"], "Interval": 5},
        },
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "x", "empty_layer": True}],
    }
    data = changed_document(rng, config)
    yield lambda: ImageConfig.from_bytes(data).to_bytes()


def read_credentials(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """A credentials file of docker's or podman's, and what becomes of it at a login and a logout."""
    data = changed_document(rng, AUTHS)

    def look() -> None:
        document = AuthDocument.parse(data)
        for host in ("example.com", "docker.io", "nobody:5000"):
            document.helper_for(host)
            if (found := document.credential_for(host, "a/b")) is not None:
                found.basic()
            json.dumps(document.without(host))
            json.dumps(document.with_entry(host, {"auth": "x"}))

    yield look


def read_answers(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """What a token service and a registry say."""
    token = {"token": "abc", "access_token": "abc", "expires_in": 300, "issued_at": "2026-01-02T03:04:05Z"}
    data = changed_document(rng, token)
    yield lambda: _life((parse_object(data) or {}).get("expires_in"))
    challenge = b'Bearer realm="https://example.com/token",service="x",scope="repository:a:pull,push", Basic realm="y"'
    line = changed_text(rng, challenge).decode("latin-1")
    yield lambda: parse_challenges([line])


def read_state(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """What an earlier run has kept."""
    (directory / "uploads").mkdir(mode=0o700)
    path = directory / "uploads" / "name.json"
    path.write_bytes(changed_document(rng, {"format": 1, "time": time.time(), "offset": 3, "location": "https://x/"}))
    path.chmod(0o600)
    yield lambda: StateDirectory("uploads", discard, life=1e9, path=str(directory)).read("name")


def read_layer_document(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """What `layer pack` wrote on another machine."""
    document = {**DESCRIPTOR, BLOB: "blob", DEST: "/", DIFF: True}
    (directory / "blob").write_bytes(b"abc")
    (directory / "layer.json").write_bytes(changed_document(rng, document))

    def look() -> None:
        with ExitStack() as stack:
            open_layer(str(directory / "layer.json"), RegistryOptions(), discard, stack)

    yield look


TOML = b"""threads = 2
compression = "gzip"
exclude = ["*.tmp", "a/b"]
created = 2026-01-02T03:04:05Z
chown = 0
[build]
label = ["a=b"]
xattrs = false
[layer.pack]
mtime = "keep"
"""
_NUMBERS = (b"0x" + b"f" * 10_000, b"1" + b"_0" * 5000, b"1e99999", b"nan", b"[" * 5000, b'{a="b"}', b"07:32:00")


def read_toml(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """The settings of a project and of a user."""
    text = changed_text(rng, TOML)
    if rng.random() < 0.3:
        key, value = rng.choice((b"threads", b"exclude", b"chown", b"created", b"label")), rng.choice(_NUMBERS)
        text = key + b" = " + value + b"\n"
    (directory / "fastoci.toml").write_bytes(text)
    params = parser_of("build", function_of("build")).params

    def look() -> None:
        with chdir(directory):
            read_settings("build", params, {})

    yield look


def read_patterns(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """A file of patterns."""
    lines = (b"**/*.pyc\n!keep\n# comment\na[!b-z]?\\*\n", b"[" * 3000, b"**/" * 3000, b"*" * 3000, b"a\\", b"[z-a]")
    path = directory / "ignore"
    path.write_bytes(changed_text(rng, rng.choice(lines)))
    yield lambda: compile_patterns(read_ignorefile(str(path)))


def read_names(rng: random.Random, directory: Path) -> Iterator[Callable[[], object]]:
    """What a user, or a document, calls an image."""
    name = b"docker://registry.example.com:5000/a/b:tag@" + DIGEST.encode()
    text = changed_text(rng, name).decode("utf-8", "surrogateescape")
    yield lambda: ImageName.parse(text)
    yield lambda: Reference.parse(text.removeprefix("docker://"))
    yield lambda: Digest.parse(text[-71:])
    yield lambda: Platform.parse(changed_text(rng, b"linux/arm64/v8").decode("utf-8", "surrogateescape"))
    yield lambda: Descriptor.from_json(canonical.loads(changed_document(rng, DESCRIPTOR), "the descriptor"))


DOCUMENT_READERS = (
    read_manifest,
    read_index,
    read_config,
    read_credentials,
    read_answers,
    read_state,
    read_layer_document,
    read_toml,
    read_patterns,
    read_names,
)


# --- the rounds ------------------------------------------------------------------------------------------------------


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a directory that is gone afterwards, whatever modes an archive gave to what is in it, and however deep."""
    # In memory, where there is such a place: what is built is synced each time.
    path = tempfile.mkdtemp(prefix="fastoci-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        yield Path(path)
    finally:
        try:
            shutil.rmtree(path)
        except (OSError, RecursionError):
            subprocess.run(["chmod", "-R", "u+rwx", path], check=True)
            subprocess.run(["rm", "-rf", path], check=True)


def read_corpus(name: str) -> list[str | None]:
    """Give an archive of the corpus to all who read archives; return what each of them said."""
    said: list[str | None] = []
    for read in TAR_READERS:
        with scratch() as directory:
            said += read(archive(name), directory)
    return said


def run_round(number: int) -> None:
    """Run one round.

    Raises:
        UndeclaredError: It must not end like this.
    """
    rng = random.Random(number)
    with scratch() as directory:
        if rng.random() < 0.3:
            read = rng.choice(TAR_READERS)
            tar = changed_archive(rng)
            if read is read_as_archive and rng.random() < 0.7:
                tar = image_archive(directory, rng)
            for _ in read(tar, directory):
                pass
        else:
            for look in rng.choice(DOCUMENT_READERS)(rng, directory):
                attempt(look)


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run rounds for as long as it was told."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round", type=int, help="run this one alone")
    arguments = parser.parse_args()
    if arguments.round is not None:
        run_round(arguments.round)
        return
    for name in ARCHIVES:
        read_corpus(name)
    before, deadline = peak_memory(), time.monotonic() + arguments.seconds
    number = arguments.seed
    while time.monotonic() < deadline:
        try:
            run_round(number)
        except BaseException as error:
            error.add_note(f"round {number}: python -m oracles.fuzzreading --round {number}")
            raise
        number += 1
    grown = peak_memory() - before
    if grown > MEMORY:
        sys.exit(f"the memory grew by {grown >> 20:,} MiB")
    rounds = f"{number - arguments.seed:,} rounds from {arguments.seed} on"
    sys.stdout.write(f"{rounds}, {len(ARCHIVES)} archives of the corpus\n")


if __name__ == "__main__":
    main()
