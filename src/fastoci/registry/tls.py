"""Which certificates are trusted and shown, from where docker and podman keep them (containers-certs.d(5)).

Beside the system's authorities (`CURL_CA_BUNDLE`, else `SSL_CERT_FILE` and `SSL_CERT_DIR`, say which) those of the
first directory that exists: `--cert-dir`, or `certs.d/HOST[:PORT]` under ~/.config/containers, /etc/containers,
/etc/docker.
"""

from __future__ import annotations

import errno
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastoci.errors import StoreError, reason

if TYPE_CHECKING:
    from fastoci.registry.options import RegistryOptions
    from fastoci.registry.urls import Origin

__all__ = ["TlsSocket", "certificate_directory", "tls_context"]

# Where distributions keep their bundle: for a Python whose OpenSSL was built to look elsewhere.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class TlsSocket(ssl.SSLSocket):
    """A TLS socket that is closed where it does not come to be.

    Python 3.11 and 3.12 take a connection that was reset before the handshake for one that is still to be made, and
    drop its socket, open, when reading shows what it is. An interruption within the handshake they drop it for, too.
    """

    def getpeername(self) -> Any:  # noqa: ANN401 - as in socket.socket
        """Return the address at the other end; a connection that has none is over.

        Raises:
            ConnectionResetError: It has none.
        """
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error

    def do_handshake(self, block: bool = False) -> None:
        """See ssl.SSLSocket."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def certificate_directory(origin: Origin, options: RegistryOptions) -> Path | None:
    """Return the directory that holds certificates for an origin, None where there is none.

    Args:
        origin: Where a request goes.
        options: `cert_dir` of it counts before the others.
    """
    if options.cert_dir is not None:
        return Path(options.cert_dir)
    config = os.environ.get("XDG_CONFIG_HOME")
    roots = [
        (Path(config) if config else Path("~/.config").expanduser()) / "containers",
        Path("/etc/containers"),
        Path("/etc/docker"),
    ]
    names = dict.fromkeys([f"{origin.host}:{origin.port}", origin.authority])
    for root in roots:
        for name in names:
            directory = root / "certs.d" / name
            if directory.is_dir():
                return directory
    return None


def tls_context(origin: Origin, options: RegistryOptions, *, registry: bool) -> ssl.SSLContext:
    """Return how TLS is spoken with an origin.

    Args:
        origin: Where requests go.
        options: `tls_verify` and `cert_dir` of it count.
        registry: Whether this is the registry itself: the client certificate of `cert_dir` is shown to nobody else.

    Raises:
        StoreError: A file in the directory cannot be read, or is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = TlsSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 began to refuse authorities that break a formality of RFC 5280, and to trust an intermediate that was
    # put among the authorities. Go, and so docker and podman, accepts both: the same files are to do here.
    context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    if options.tls_verify:
        _trust_system(context)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    directory = certificate_directory(origin, options)
    if directory is not None:
        _load_directory(context, directory, client=registry or options.cert_dir is None)
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    if bundle := os.environ.get("CURL_CA_BUNDLE"):
        # Instead of all others, as in curl: whoever names one authority wants no other trusted.
        _trust(context, Path(bundle))
        return
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        for candidate in map(Path, _BUNDLES):
            if candidate.is_file():
                _trust(context, candidate)
                break


def _load_directory(context: ssl.SSLContext, directory: Path, *, client: bool) -> None:
    try:
        names = sorted(directory.iterdir())
    except OSError as error:
        raise StoreError.from_os(
            error,
            f"cannot read the certificates in {directory}",
            path=str(directory),
            hint="--cert-dir names a directory of *.crt, *.cert and *.key",
        ) from error
    for path in names:
        if path.suffix == ".crt":
            _trust(context, path)
        elif path.suffix == ".cert" and client:
            _show(context, path)


def _trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(path))
    except OSError as error:  # ssl.SSLError is one
        raise _unusable(path, "an authority's certificate", error) from error


def _show(context: ssl.SSLContext, path: Path) -> None:
    key = path.with_suffix(".key")
    try:
        # A password, even an empty one, keeps OpenSSL from asking for it on the terminal.
        context.load_cert_chain(str(path), str(key), password="")
    except OSError as error:
        raise _unusable(path, f"a certificate that goes with {key.name}", error) from error


def _unusable(path: Path, role: str, error: OSError) -> StoreError:
    tls = isinstance(error, ssl.SSLError)  # whose errno is OpenSSL's, not the kernel's
    cause = str(getattr(error, "reason", None) or error) if tls else reason(error)
    return StoreError(
        f"{path} cannot be used as {role}", path=str(path), cause=cause, errno=None if tls else error.errno
    )
