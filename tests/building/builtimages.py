"""Images that `build` made, in a directory of blobs, read by hand; and the command, run in this process."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

from fastoci.cli import app
from imagekit import REF_NAME, check_words


class Image:
    """An image in a directory of blobs, read by hand."""

    def __init__(self, directory: Path, entry: dict) -> None:
        self.directory = directory
        self.entry = entry
        self.manifest = self.json(entry)
        self.config = self.json(self.manifest["config"])

    def blob(self, descriptor: dict) -> bytes:
        algorithm, _, encoded = descriptor["digest"].partition(":")
        data = (self.directory / "blobs" / algorithm / encoded).read_bytes()
        assert hashlib.sha256(data).hexdigest() == encoded
        assert len(data) == descriptor["size"]
        return data

    def json(self, descriptor: dict) -> dict:
        return json.loads(self.blob(descriptor))

    def tars(self) -> list[dict[str, tarfile.TarInfo]]:
        tars = []
        for descriptor, diff_id in zip(self.manifest["layers"], self.config["rootfs"]["diff_ids"], strict=True):
            data = self.blob(descriptor)
            data = gzip.decompress(data) if descriptor["mediaType"].endswith("gzip") else data
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == diff_id
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                tars.append({member.name: member for member in tar})
        return tars

    def names(self) -> list[list[str]]:
        return [list(tar) for tar in self.tars()]


def images(layout) -> dict[str, Image]:
    layout = Path(layout)
    index = json.loads((layout / "index.json").read_bytes())
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    # Of two names with one tag the second has no ref.name, which has to be unique.
    return {(entry["annotations"].get(REF_NAME)): Image(layout, entry) for entry in index["manifests"]}


def image_of(layout) -> Image:
    (image,) = images(layout).values()
    return image


def unpacked(archive, directory) -> Path:
    with tarfile.open(archive) as tar:
        # Python 3.11.2, which is Debian 12's, knows no `filter` argument; later ones warn where nothing is said.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(directory)
    return Path(directory)


def run(capfd, *arguments, code=0):
    """Run the command; return its lines on stdout, and its stderr."""
    assert app.run(["build", *map(str, arguments)]) == code, capfd.readouterr().err
    out, err = capfd.readouterr()
    check_words(err)
    return out.splitlines(), err
