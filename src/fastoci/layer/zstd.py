"""Zstandard: each block is a frame of its own, made by the libzstd of Python 3.14 or of `backports.zstd`.

A frame (RFC 8878) has the block's size in its header and a checksum of its content at its end, and knows nothing of the
frames before it. Frames in a row are a stream, to every reader of layers. libzstd, on one thread, gives the same bytes
on every CPU, and other bytes in another version.
"""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

from fastoci.errors import FastociError
from fastoci.spec import mediatypes

__all__ = ["ZstdCompressor", "differs_from_golden", "find_zstd", "zstd_version"]

# Of GOLDEN_TEXT, by level, as libzstd 1.5.7 makes them.
_GOLDEN_DIGESTS = {
    1: "c1eb28365b7199244c1b27e24255d967f9aea600093a4c111ad46a84728674e4",
    2: "a89d50fe876098f48769740d305890d6511c5544246d2fa74bb81eb6598a0b40",
    3: "2b011659f1f8ac1ba9dd7870ca626af30f74d94d1fcb9a03bff17d4e84617aec",
    4: "eff0e7c6af28e51732b9b2c0346dea24902b6e4f8c7adb482f741a5907d6b452",
    5: "5964af88973e00f11ac1f2a84c77bbdf29cd35a03b1ef19219483c9a766bec63",
    6: "205bb8cfd65790cd8a03377b8f1e0666019eb29d607055bb449dadab16a9eab9",
    7: "51e98fbe27aa217ef2e2276baa5d8ef2f119baa6808706147f69c076fc7bbf5a",
    8: "98471f52924a734835236e308afeffad7cdcec29354694be68875602fa177d91",
    9: "95f810fd5e42b71d39b30b65b92a26ffb566b3881947a6e833457fdd75935880",
    10: "3c5036b04a98186933b7e0688574d929dae4f973d96b15189f346937ff22da51",
    11: "9bac47413523ea09de4748748a3e42ad4db5f382f89e01243435a729a35e6d1c",
    12: "164c9ff86fb023e38939a79f93b2728ac617dfcb763321d9e065f1aecaeea1de",
    13: "5df9a3f64379862eebfbea8cc1fbdb473122f76be09a19723e7f53a93719940a",
    14: "3cf8edd2130657f3fa13d8fee73289e9d4f8230bd220a6658748b2fefad9b098",
    15: "10f662c87b0f7944b8ece34eb89d7c5b3fd7e77e007ff5ea9d000670222bf052",
    16: "519bbe39402ac6dd0e99b2feded62df6e56dba2c41b0fcf370fb67c181537fc2",
    17: "519bbe39402ac6dd0e99b2feded62df6e56dba2c41b0fcf370fb67c181537fc2",
    18: "cc43a035951ff40cd8c7a0a844dcc235736259617c988a5e2ca86f70be3538b2",
    19: "18fb8a06a322f404eebc7b9dd24de43967f311c7599f1ea4a409f9cb2c14ef8b",
}


def find_zstd() -> Any | None:  # noqa: ANN401 - one of two modules that have no common type
    """Return the module that has libzstd, None where there is none."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def zstd_version() -> str:
    """Return libzstd's version, as in `1.5.7`; `none` where there is none."""
    module = find_zstd()
    return "none" if module is None else str(module.zstd_version)


class ZstdCompressor:
    """A frame a block.

    Args:
        level: 1 to 19.

    Raises:
        FastociError: There is no libzstd here.
    """

    media_type = mediatypes.OCI_LAYER_ZSTD
    identity = False

    def __init__(self, level: int) -> None:
        module = find_zstd()
        if module is None:
            raise FastociError(
                "cannot compress with zstd",
                cause="this Python has no libzstd",
                hint="pip install 'fastoci[zstd]', or use Python 3.14, which has one",
            )
        self._compress = module.compress
        parameter = module.CompressionParameter
        self._options = {parameter.compression_level: level, parameter.checksum_flag: 1}

    def start(self) -> bytes:
        """Return nothing: the first frame begins the stream."""
        return b""

    def compress(self, block: memoryview) -> tuple[bytes, int]:
        """Return the block's frame. In one call, so that its header has the size."""
        frame: bytes = self._compress(block, options=self._options)
        return frame, 0

    def finish(self, checksums: list[tuple[int, int]]) -> bytes:  # noqa: ARG002 - the protocol's argument
        """Return nothing: each frame has its own end."""
        return b""


def differs_from_golden(level: int) -> bool:
    """Return whether the libzstd at hand compresses a known text to other bytes than 1.5.7 does."""
    from fastoci.layer.compression import GOLDEN_TEXT  # not at the top: who only reads zstd needs no engine for it

    frame, _ = ZstdCompressor(level).compress(memoryview(GOLDEN_TEXT))
    return hashlib.sha256(frame).hexdigest() != _GOLDEN_DIGESTS[level]
