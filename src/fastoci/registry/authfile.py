"""The files in which docker and podman keep credentials: finding one, reading it, replacing it.

Both write the same JSON, docker as `config.json`, podman as `auth.json` (containers-auth.json(5)): `auths` with
base64 of `user:password`, `credHelpers` and `credsStore` naming programs that know them. They differ in the keys of
`auths`: docker's is a host or a legacy URL, podman's may go on with a path, and the longest that fits wins.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastoci.ending import OpenFile, ending_context
from fastoci.errors import StoreError, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "HUB_HOSTS",
    "AuthDocument",
    "AuthFileError",
    "Credential",
    "docker_config_path",
    "podman_auth_paths",
    "update_auth_file",
]

# Docker Hub's key since docker 1.0; the others are names under which it is reached.
HUB_KEY = "https://index.docker.io/v1/"
HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})

_LIMIT = 1 << 20
_LEGACY_PATHS = frozenset({"", "/", "/v1", "/v1/", "/v2", "/v2/"})


class AuthFileError(ValueError):
    """A credentials file that cannot be used; the text says why, and holds none of its content."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What proves who somebody is. Its repr shows the user and nothing else.

    Args:
        username: Empty where a token alone does it.
        password: The password or access token of `username`.
        identity_token: An OAuth2 refresh token, for the token service.
        registry_token: A bearer token, for the registry itself.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of an `Authorization` header by the Basic scheme (RFC 7617)."""
        user, password = self.username, self.password
        if self.identity_token:
            # docker's convention for a token in the place of a password.
            user, password = user or "<token>", self.identity_token
        return "Basic " + base64.b64encode(f"{user}:{password}".encode(errors="surrogatepass")).decode("ascii")


@dataclass(frozen=True, slots=True)
class AuthDocument:
    """The content of one credentials file.

    Args:
        content: The JSON object.
    """

    content: Mapping[str, Any]

    @classmethod
    def parse(cls, data: bytes | str) -> AuthDocument:
        """Return the document in `data`.

        Raises:
            AuthFileError: It is not a JSON object, or too long.
        """
        if len(data) > _LIMIT:
            raise AuthFileError("longer than 1 MiB")
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            # json's own message quotes nothing, but its `doc` attribute holds the whole file: leave it behind.
            raise AuthFileError("not a JSON document") from None
        if not isinstance(content, dict):
            raise AuthFileError("not a JSON object")
        return cls(content)

    @classmethod
    def read(cls, path: Path) -> AuthDocument | None:
        """Return the document at `path`, None where there is no such file.

        Raises:
            AuthFileError: It is there, but cannot be read or is not a JSON object.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_LIMIT + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise AuthFileError(reason(error)) from error
        return cls.parse(data)

    def helper_for(self, host: str) -> str | None:
        """Return the name of the credential helper for a host; None where the file names none."""
        helpers = self.content.get("credHelpers")
        if isinstance(helpers, dict):
            for key in _names_of(host):
                if isinstance(name := helpers.get(key), str) and name:
                    return name
        store = self.content.get("credsStore")
        return store if isinstance(store, str) and store else None

    def credential_for(self, host: str, repository: str) -> Credential | None:
        """Return what `auths` says for a repository, by the longest key that fits; None where it says nothing.

        Args:
            host: The registry, as references name it.
            repository: The path in it; empty asks for the registry as a whole.
        """
        auths = self.content.get("auths")
        if not isinstance(auths, dict):
            return None
        for key in _keys_of(auths, host, repository):
            entry = auths.get(key)
            if isinstance(entry, dict) and (found := _credential(entry)) is not None:
                return found
        return None

    def without(self, host: str) -> dict[str, Any] | None:
        """Return the content with no entry for a host in `auths`; None where there was none."""
        auths = self.content.get("auths")
        if not isinstance(auths, dict):
            return None
        kept = {key: value for key, value in auths.items() if _host_of(key) != _canonical(host)}
        return None if len(kept) == len(auths) else {**self.content, "auths": kept}

    def with_entry(self, host: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Return the content with `entry` as the only one for a host in `auths`."""
        content = self.without(host) or dict(self.content)
        auths = content.get("auths")
        return {**content, "auths": {**(auths if isinstance(auths, dict) else {}), key_of(host): entry}}


def key_of(host: str) -> str:
    """Return the name under which docker files a host and asks its helpers for it."""
    return HUB_KEY if host in HUB_HOSTS else host


def _canonical(host: str) -> str:
    return "docker.io" if host in HUB_HOSTS else host


def _names_of(host: str) -> list[str]:
    return [HUB_KEY, "docker.io", "index.docker.io"] if host in HUB_HOSTS else [host]


def _host_of(key: str) -> str | None:
    """Return the host that a key of `auths` stands for as a whole, None for a key with a path of its own."""
    _, _, rest = key.rpartition("://")
    host, slash, path = rest.partition("/")
    return _canonical(host) if slash + path in _LEGACY_PATHS else None


def _keys_of(auths: Mapping[str, Any], host: str, repository: str) -> Iterator[str]:
    """Yield the keys that fit, the longest path first (containers-auth.json(5)), then docker's legacy forms."""
    path = f"{_canonical(host)}/{repository}".rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield from _names_of(host)
    yield from (key for key in auths if _host_of(key) == _canonical(host))


def _credential(entry: Mapping[str, Any]) -> Credential | None:
    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    username, password = text("username"), text("password")
    if text("auth"):
        try:
            decoded = base64.b64decode(text("auth"), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        username, _, password = decoded.partition(":")
        # docker pads the password with NULs when it encodes.
        password = password.rstrip("\0")
    found = Credential(username, password, text("identitytoken"), text("registrytoken"))
    return found if (username and password) or found.identity_token or found.registry_token else None


def docker_config_path() -> Path:
    """Return where docker keeps its configuration, whether there is one or not."""
    directory = os.environ.get("DOCKER_CONFIG")
    return (Path(directory) if directory else Path("~/.docker").expanduser()) / "config.json"


def podman_auth_paths() -> list[Path]:
    """Return where podman keeps credentials, in the order it looks."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    config = os.environ.get("XDG_CONFIG_HOME")
    return [
        Path(runtime, "containers/auth.json") if runtime else Path(f"/run/containers/{os.getuid()}/auth.json"),
        (Path(config) if config else Path("~/.config").expanduser()) / "containers/auth.json",
    ]


def update_auth_file(path: Path, change: Callable[[AuthDocument], dict[str, Any] | None]) -> bool:
    """Replace a credentials file by what `change` makes of it: whole or not at all, readable by its owner alone.

    Args:
        path: The file; where it is a link, what it points to is replaced. Made where it is missing.
        change: Given the document (an empty one where there is no file), returns the new content, None to leave it.

    Returns:
        Whether the file was replaced.

    Raises:
        StoreError: The file is there but is not understood, or cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            document = AuthDocument.read(path) or AuthDocument({})
            content = change(document)
            if content is None:
                return False
            _replace(path, (json.dumps(content, indent="\t") + "\n").encode())
    except AuthFileError as error:
        raise StoreError(
            f"cannot change {path}", path=str(path), cause=str(error), hint="mend the file, or move it away"
        ) from error
    except OSError as error:
        raise StoreError.from_os(error, f"cannot write {path}", path=str(path)) from error
    return True


@ending_context
def _locked(directory: Path) -> Iterator[None]:
    # Two logins at once: the directory is what both have, and locking it leaves no file behind.
    with OpenFile(directory, os.O_RDONLY | os.O_DIRECTORY) as opened:
        with contextlib.suppress(OSError):  # a file system without locks: as docker, which takes none
            fcntl.flock(opened.fd, fcntl.LOCK_EX)
        yield


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):  # root writing for a user: the file stays the user's
                found = path.stat()
                if stat.S_ISREG(found.st_mode) and found.st_uid != os.geteuid():
                    os.fchown(file.fileno(), found.st_uid, found.st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
