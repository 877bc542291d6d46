"""What a registry does (OCI distribution specification), in the ways of the one that is played."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from fake_registry.registry import GoneError, Reply, Session
from fake_registry.tokens import Tokens, fault

if TYPE_CHECKING:
    from http.server import HTTPServer

__all__ = ["Api"]

INDEX = "application/vnd.oci.image.index.v1+json"

_UPLOAD = re.compile(r"/v2/(?P<name>.+)/blobs/uploads?/(?P<id>[0-9a-f]+)?$")
_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[a-z0-9]+:[0-9a-f]+)$")
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)$")
_REFERRERS = re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>[a-z0-9]+:[0-9a-f]+)$")
_TAGS = re.compile(r"/v2/(?P<name>.+)/tags/list$")
_STORED = re.compile(r"/stored/(?P<name>.+)/(?P<digest>[a-z0-9]+:[0-9a-f]+)$")


class Api(Tokens):
    """What a handler answers."""

    server: HTTPServer
    unread: int
    cut_after: int | None

    def read(self, size: int) -> bytes:
        raise NotImplementedError

    def dispatch(self) -> Reply:
        path = urlsplit(self.path).path
        if path == "/token":
            return self.token()
        if self.server is self.registry.storage:
            return self.stored(path)
        if (denied := self.denied(path)) is not None:
            self.read_all()
            return denied
        if path == "/v2/":
            return Reply(200, {"Content-Type": "application/json"}, b"{}")
        if found := _UPLOAD.match(path):
            return self.start_upload(found["name"]) if found["id"] is None else self.upload(found["name"], found["id"])
        if found := _BLOB.match(path):
            return self.blob(found["name"], found["digest"])
        if found := _MANIFEST.match(path):
            return self.manifest(found["name"], found["reference"])
        if (found := _REFERRERS.match(path)) and self.registry.profile.referrers:
            return self.referrers(found["name"], found["digest"])
        if found := _TAGS.match(path):
            return self.tags(found["name"])
        return fault(404, "NOT_FOUND")

    # Uploads.

    def start_upload(self, name: str) -> Reply:
        self.read_all()
        registry = self.registry
        if registry.profile.made_before and name not in registry.repositories:
            return fault(404, "NAME_UNKNOWN", "The repository does not exist")
        query = parse_qs(urlsplit(self.path).query)
        if "mount" in query:
            digest, source = query["mount"][0], query["from"][0]
            data = registry.blobs.get(source, {}).get(digest)
            if data is not None:
                registry.put_blob(name, data)
                return Reply(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})
        key = secrets.token_hex(8)
        registry.sessions[key] = Session(name)
        reply = self.session_reply(202, name, key)
        if registry.min_chunk is not None:
            reply.headers["OCI-Chunk-Min-Length"] = str(registry.min_chunk)
        if registry.max_chunk is not None:
            reply.headers["OCI-Chunk-Max-Length"] = registry.max_chunk
        return reply

    def session_reply(self, status: int, name: str, key: str) -> Reply:
        registry, profile = self.registry, self.registry.profile
        session = registry.sessions[key]
        # Bytes that a client which parses and encodes again would change.
        state = f"_state=%3d{secrets.token_urlsafe(6)}%2f..;+~&b=/../{len(session.data)}"
        # 2.8 compares the offset in the state with what it holds, and so takes only the last one it gave out.
        session.states = {state} if profile.one_location else {*session.states, state}
        target = f"/v2/{name}{profile.place}{key}?{state}"
        if registry.locations == "absolute":
            target = f"{registry.url}{target}"
        elif registry.locations == "relative" and self.command != "POST":
            target = f"{key}?{state}"
        headers = {"Location": target}
        reported = self.reported(session)
        if reported is not None:
            headers["Range"] = reported
        return Reply(status, headers)

    def reported(self, session: Session) -> str | None:
        profile, held = self.registry.profile, len(session.data)
        if self.command == "PATCH" and profile.patch_range != "true":
            return "0-0" if profile.patch_range == "stuck" or not session.chunks else f"0-{session.chunks[-1] - 1}"
        said = self.registry.reported_range(held)
        if self.command == "GET" and profile.high and said is not None and held:
            return f"{profile.prefix}0-{held - 1 + profile.high}"
        return said

    def upload(self, name: str, key: str) -> Reply:
        registry, profile = self.registry, self.registry.profile
        session = registry.sessions.get(key)
        query = re.sub(r"&digest=[^&]*$", "", self.path.partition("?")[2])
        if session is None or session.name != name:
            self.read_all()
            return fault(404, "BLOB_UPLOAD_UNKNOWN")
        if session.lost or query not in session.states:
            self.read_all()
            return fault(404, "BLOB_UPLOAD_INVALID")
        if self.command == "GET":
            return self.session_reply(204, name, key) if profile.get_status == 204 else Reply(profile.get_status)
        if self.command == "DELETE":
            if profile.delete_status == 204:
                del registry.sessions[key]
            return Reply(profile.delete_status)
        if self.command == "PATCH" or self.unread:
            refusal = self.refused(session, name, key)
            if refusal is not None:
                return refusal
            self.receive(session, key)
            if self.command == "PATCH":
                return self.session_reply(profile.patch_status, name, key)
        return self.complete(session, key)

    def refused(self, session: Session, name: str, key: str) -> Reply | None:
        """Return what is said to bytes that are not taken."""
        profile, start, size = self.registry.profile, len(session.data), self.unread
        limit = profile.largest_patch if self.command == "PATCH" else profile.largest_put
        reply = None
        if self.command == "PATCH" and profile.patches is not None and len(session.chunks) >= profile.patches:
            reply = fault(405, "UNSUPPORTED", "chunked uploads are not supported")
        elif self.command == "PATCH" and limit is not None and size > limit:
            reply = fault(416, "BLOB_UPLOAD_INVALID", "chunk too large")
        elif limit is not None and size > limit:
            reply = Reply(413)
        else:
            given = self.headers.get("Content-Range")
            if given is not None and given != f"{start}-{start + size - 1}":
                reply = fault(416, "RANGE_INVALID")
                command, self.command = self.command, "GET"  # whose Range this is
                reply.headers.update(self.session_reply(416, name, key).headers)
                self.command = command
        if reply is not None:
            self.read_all()
        return reply

    def receive(self, session: Session, key: str) -> None:
        profile, before = self.registry.profile, len(session.data)
        session.chunks.append(self.unread)
        while self.unread:
            piece = self.read(min(self.unread, 65536))
            session.data += piece
            if self.unread and (not piece or self.cut_after == 0):
                if profile.cut == "loses":
                    session.lost = True
                elif profile.cut == "dropped":
                    self.registry.sessions.pop(key, None)
                elif profile.cut == "whole":
                    del session.data[before:]
                    session.chunks.pop()
                raise GoneError
        if self.cut_after == 0:
            raise GoneError

    def complete(self, session: Session, key: str) -> Reply:
        registry, profile = self.registry, self.registry.profile
        wanted = parse_qs(urlsplit(self.path).query).get("digest", [""])[0]
        data = bytes(session.data)
        if wanted != f"sha256:{hashlib.sha256(data).hexdigest()}":
            del registry.sessions[key]
            return fault(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        *parts, _last = session.chunks or [0]
        if profile.parts and (len(set(parts)) > 1 or any(part < (profile.min_chunk or 0) for part in parts)):
            return fault(400, "BLOB_UPLOAD_INVALID", "all parts but the last must have one size")
        del registry.sessions[key]
        if not data and profile.empty_blob == "refused":
            return fault(400, "BLOB_UPLOAD_INVALID", "layer part of size 0")
        registry.put_blob(session.name, data)
        headers = {"Location": f"/v2/{session.name}/blobs/{wanted}"}
        if registry.digest_header:
            headers["Docker-Content-Digest"] = wanted
        return Reply(201, headers)

    # Blobs.

    def blob(self, name: str, digest: str) -> Reply:
        registry = self.registry
        data = registry.blobs.get(name, {}).get(digest)
        if data is None or (not data and registry.profile.empty_blob == "unreadable"):
            return fault(404, "BLOB_UNKNOWN")
        if self.command == "GET" and registry.profile.redirects:
            signature = secrets.token_hex(8)
            registry.signatures.add(signature)
            target = f"{registry.storage_url}/stored/{name}/{digest}?X-Signature={signature}&x=%3d"
            return Reply(307, {"Location": target})
        return self.content(digest, data)

    def stored(self, path: str) -> Reply:
        """Answer as an object store does: to whoever has a signature, and to nobody who shows more than that."""
        found = _STORED.match(path)
        signature = parse_qs(urlsplit(self.path).query).get("X-Signature", [""])[0]
        if found is None or signature not in self.registry.signatures:
            return Reply(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        if self.headers.get("Authorization"):
            return Reply(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
        return self.content(found["digest"], self.registry.blobs[found["name"]][found["digest"]])

    def content(self, digest: str, data: bytes) -> Reply:
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("Range") or "")
        if asked:
            first, last = int(asked[1]), int(asked[2] or len(data) - 1)
            if first >= len(data):
                return Reply(416, {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return Reply(206, headers, data[first : last + 1])
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(data))
            return Reply(200, headers)
        return Reply(200, headers, data)

    # Manifests.

    def manifest(self, name: str, reference: str) -> Reply:
        manifests = self.registry.manifests.setdefault(name, {})
        if self.command == "PUT":
            data = self.read_all()
            missing = self.missing(name, data) if self.registry.checks_manifests else None
            if missing is not None:
                return fault(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {missing}")
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            manifests[reference] = manifests[digest] = (self.headers["Content-Type"], data)
            reply = Reply(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"})
            subject = _document(data).get("subject")
            if self.registry.profile.referrers and subject:
                reply.headers["OCI-Subject"] = subject["digest"]
            return reply
        found = manifests.get(reference)
        if found is None:
            return fault(404, "MANIFEST_UNKNOWN", "manifest unknown")
        digest = f"sha256:{hashlib.sha256(found[1]).hexdigest()}"
        return Reply(200, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])

    def missing(self, name: str, data: bytes) -> str | None:
        document, held = _document(data), self.registry.blobs.get(name, {})
        blobs = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        wanted = [blob["digest"] for blob in blobs if blob["digest"] not in held]
        listed = self.registry.manifests.get(name, {})
        wanted += [one["digest"] for one in document.get("manifests", []) if one["digest"] not in listed]
        return wanted[0] if wanted else None

    def referrers(self, name: str, subject: str) -> Reply:
        entries = {}
        for media_type, data in self.registry.manifests.get(name, {}).values():
            document = _document(data)
            if (document.get("subject") or {}).get("digest") != subject:
                continue
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
            entries[digest] = {"mediaType": media_type, "digest": digest, "size": len(data), "artifactType": kind}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries.values())}
        return Reply(200, {"Content-Type": INDEX}, json.dumps(index).encode())

    def tags(self, name: str) -> Reply:
        found = sorted(tag for tag in self.registry.manifests.get(name, {}) if ":" not in tag)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps({"name": name, "tags": found}).encode())


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
