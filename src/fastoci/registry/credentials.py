"""Which credentials belong to a registry, and where they were found.

Sources, the first that knows the host wins: the command line; the file that `--authfile` or `REGISTRY_AUTH_FILE` names,
alone; the document in `DOCKER_AUTH_CONFIG`; docker's configuration; podman's two files. Within a file a credential
helper comes before `auths`. A source that is missing or broken is passed over, for an anonymous pull needs none.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastoci.errors import StoreError
from fastoci.events import Notice, Sink, discard
from fastoci.registry.authfile import (
    AuthDocument,
    AuthFileError,
    Credential,
    docker_config_path,
    podman_auth_paths,
    update_auth_file,
)
from fastoci.registry.helpers import HelperError, helper_erase, helper_get, helper_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.registry.options import RegistryOptions

__all__ = ["Credential", "Found", "erase_credential", "find_credential", "store_credential"]


class Found(NamedTuple):
    """What was found for a registry.

    Args:
        credential: None where nobody knows the host: go anonymously.
        source: Where it was found, as it may be shown; `anonymous` where it was not.
    """

    credential: Credential | None
    source: str


def find_credential(host: str, repository: str, options: RegistryOptions, sink: Sink = discard) -> Found:
    """Return the credentials for a repository.

    Args:
        host: The registry, as references name it (`docker.io` for Docker Hub).
        repository: The path in it; empty asks for the registry as a whole.
        options: `credentials` and `authfile` of it count.
        sink: Told which source won, and which were passed over as broken.
    """
    if options.credentials is not None:
        sink(Notice(f"credentials for {host}: from the command line"))
        return Found(Credential(*options.credentials), "the command line")
    for name, load in _sources(options):
        try:
            document = load()
        except AuthFileError as error:
            sink(Notice(f"credentials for {host}: passing over {name}: {error}"))
            continue
        if document is None:
            continue
        found = _ask(document, name, host, repository, sink)
        if found is not None:
            sink(Notice(f"credentials for {host}: from {found.source}"))
            return found
    sink(Notice(f"credentials for {host}: none found, going anonymously"))
    return Found(None, "anonymous")


def _ask(document: AuthDocument, name: str, host: str, repository: str, sink: Sink) -> Found | None:
    helper = document.helper_for(host)
    if helper is not None:
        try:
            credential = helper_get(helper, host)
        except HelperError as error:
            sink(Notice(f"credentials for {host}: passing over the helper in {name}: {error}"))
            credential = None
        if credential is not None:
            return Found(credential, f"docker-credential-{helper} ({name})")
    credential = document.credential_for(host, repository)
    return None if credential is None else Found(credential, name)


class _Source(NamedTuple):
    name: str
    path: Path | None
    text: str = ""

    def load(self) -> AuthDocument | None:
        return AuthDocument.parse(self.text) if self.path is None else AuthDocument.read(self.path)


def _sources(options: RegistryOptions) -> Iterator[tuple[str, Any]]:
    for source in _list_sources(options):
        yield source.name, source.load


def _list_sources(options: RegistryOptions) -> Iterator[_Source]:
    alone = options.authfile or os.environ.get("REGISTRY_AUTH_FILE")
    if alone:
        yield _Source(shown(Path(alone)), Path(alone))
        return
    if text := os.environ.get("DOCKER_AUTH_CONFIG"):
        yield _Source("DOCKER_AUTH_CONFIG", None, text)
    for path in (docker_config_path(), *podman_auth_paths()):
        yield _Source(shown(path), path)


def shown(path: Path) -> str:
    """Return a path as a user would write it, with `~` for their home."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)


def store_credential(host: str, credential: Credential, options: RegistryOptions) -> str:
    """Keep a user and password for a registry, as `docker login` does, for docker, podman and fastoci to find.

    They go to the credential helper that the file names for this host, and into the file itself where it names none.

    Args:
        host: The registry, as references name it.
        credential: `username` and `password` of it are kept.
        options: `authfile` of it says which file; else `REGISTRY_AUTH_FILE`, else docker's configuration, which podman
            reads too.

    Returns:
        Where they are kept, as it may be shown.

    Raises:
        StoreError: The file cannot be read or written, or the helper did not take them.
    """
    path = _target(options)
    helper = _helper_in(path, host)
    if helper is None:
        secret = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode("ascii")
        update_auth_file(path, lambda document: document.with_entry(host, {"auth": secret}))
        return shown(path)
    try:
        helper_store(helper, host, credential)
    except HelperError as error:
        raise StoreError(
            f"credentials for {host} could not be kept",
            path=str(path),
            cause=str(error),
            hint=f"install the helper, or take it out of {shown(path)}",
        ) from error
    # As docker does: an empty entry, so that who reads the file sees that there is a login.
    update_auth_file(path, lambda document: document.with_entry(host, {}))
    return f"docker-credential-{helper} ({shown(path)})"


def erase_credential(host: str, options: RegistryOptions) -> str | None:
    """Forget the user and password of a registry, as `docker logout` does.

    Args:
        host: The registry, as references name it.
        options: See `store_credential`.

    Returns:
        Where they were, as it may be shown; None where none were kept.

    Raises:
        StoreError: The file cannot be read or written, or the helper refused.
    """
    path = _target(options)
    helper = _helper_in(path, host)
    known = None
    if helper is not None:
        try:
            known = helper_get(helper, host)
            helper_erase(helper, host)
        except HelperError as error:
            raise StoreError(f"credentials for {host} could not be erased", path=str(path), cause=str(error)) from error
    erased = path.exists() and update_auth_file(path, lambda document: document.without(host))
    if known is not None:
        return f"docker-credential-{helper} ({shown(path)})"
    return shown(path) if erased else None


def _target(options: RegistryOptions) -> Path:
    alone = options.authfile or os.environ.get("REGISTRY_AUTH_FILE")
    return Path(alone) if alone else docker_config_path()


def _helper_in(path: Path, host: str) -> str | None:
    try:
        document = AuthDocument.read(path)
    except AuthFileError as error:
        raise StoreError(
            f"cannot read {path}", path=str(path), cause=str(error), hint="mend the file, or move it away"
        ) from error
    return None if document is None else document.helper_for(host)
