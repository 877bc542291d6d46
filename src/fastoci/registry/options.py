"""What a caller decides about talking to registries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from fastoci.errors import UsageError

__all__ = ["RegistryOptions", "UploadChoice"]

UploadChoice = Literal["auto", "monolithic", "chunked"]


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How a registry is reached, as whom, and how hard it is tried.

    Args:
        authfile: The one file to read credentials from, in docker's or podman's form; None follows the usual order.
        credentials: User and password from the command line, which come before every file; None where none were given.
        tls_verify: False takes any certificate, and plain HTTP where the host speaks no TLS, as podman's
            `--tls-verify=false` does.
        plain_http: True speaks HTTP only. Loopback hosts are tried without TLS in any case.
        cert_dir: A directory of *.crt (authorities to trust beside the system's) and of *.cert with *.key (to show to
            the registry), used instead of those under `certs.d`; None looks there.
        jobs: How many blobs travel at once, at least 1.
        retry: How many failures in a row, without progress, end the work; 0 and 1 both try once.
        upload: How a blob is sent: `monolithic` in one request, `chunked` in pieces, `auto` as the host takes it.
        chunk_size: Bytes in a piece; None is 16 MiB, or what the registry asks for.
    """

    authfile: str | None = None
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    tls_verify: bool = True
    plain_http: bool = False
    cert_dir: str | None = None
    jobs: int = 4
    retry: int = 8
    upload: UploadChoice = "auto"
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: A number is out of its range, or `upload` is none of its words.
        """
        if self.jobs < 1:
            raise UsageError(f"the number of blobs at once must be 1 or more, not {self.jobs}")
        if self.retry < 0:
            raise UsageError(f"the number of retries cannot be negative: {self.retry}")
        if self.upload not in get_args(UploadChoice):
            raise UsageError(f"no way to upload: {self.upload!r}", hint="auto, monolithic or chunked")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise UsageError(f"a chunk must have at least one byte, not {self.chunk_size}")
