"""What may go wrong with a request at random, and how often."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fake_registry import (
    PASSWORD,
    Action,
    FakeRegistry,
    GoneError,
    Handler,
    Reply,
    answer,
    break_off,
    change,
    error,
    lose_answer,
    reset_at,
    shortened,
    talk,
)

from fastoci.errors import BlobMismatchError, FastociError, InvalidImageError

__all__ = ["LOOPING", "PULL_FAULTS", "PUSH_FAULTS", "Script", "declared", "reset"]

# Requests that no script takes: who makes more of them goes round in a circle.
LOOPING = 1500

Fault = Callable[[random.Random], Action]


@dataclass(frozen=True)
class Kind:
    """One way to go wrong.

    Args:
        make: Makes one of its kind.
        methods: What it befalls.
        weight: How often, beside the others.
        lies: Whether it gives other bytes than it should.
    """

    make: Fault
    methods: str = "GET HEAD POST PUT PATCH DELETE"
    weight: int = 4
    lies: bool = False


class Script:
    """Has a registry go wrong until `end`; `lied` says whether it ever gave out wrong bytes.

    Args:
        registry: Which.
        rng: Where chance comes from.
        kinds: What may happen.
        most: The highest chance of a request to go wrong; that of this script is drawn.
    """

    def __init__(self, registry: FakeRegistry, rng: random.Random, kinds: Sequence[Kind], most: float = 0.6) -> None:
        self._registry = registry
        self._rng = rng
        self._kinds = kinds
        self._chance = rng.uniform(0.02, most)
        self.lied = False
        registry.on("*", "", self._act, times=1 << 60)

    def end(self) -> None:
        self._registry.rules.clear()

    def _act(self, handler: Handler) -> Reply | None:
        with self._registry.lock:
            kinds = [kind for kind in self._kinds if handler.command in kind.methods.split()]
            if self._rng.random() >= self._chance or not kinds:
                action = None
            else:
                [kind] = self._rng.choices(kinds, [kind.weight for kind in kinds])
                action = kind.make(self._rng)
                self.lied |= kind.lies
        return handler.dispatch() if action is None else action(handler)


def one_of(*actions: Action) -> Fault:
    return lambda rng: rng.choice(actions)


# What a registry does to its own memory.


def session_of(handler: Handler) -> bytearray | None:
    session = handler.registry.sessions.get(handler.path.partition("?")[0].rpartition("/")[2])
    return None if session is None else session.data


def loses_tail(rng: random.Random) -> Action:
    part = rng.random()

    def act(handler: Handler) -> Reply:
        data = session_of(handler)
        if data is not None:
            del data[int(len(data) * part) :]
        return handler.dispatch()

    return act


def spoils(rng: random.Random) -> Action:
    def act(handler: Handler) -> Reply:
        data = session_of(handler)
        if data:
            data[-1] ^= 1
        return handler.dispatch()

    return act


def forgets(rng: random.Random) -> Action:
    def act(handler: Handler) -> Reply:
        handler.registry.sessions.clear()
        return handler.dispatch()

    return act


def token_runs_out(rng: random.Random) -> Action:
    def act(handler: Handler) -> Reply:
        handler.registry.expire_tokens()
        handler.registry.signatures.clear()
        return handler.dispatch()

    return act


def does_and_says(rng: random.Random) -> Action:
    """Do what is asked, and say that it failed."""
    status = rng.choice([408, 500, 502, 503, 504])

    def act(handler: Handler) -> Reply:
        handler.dispatch()
        return Reply(status)

    return act


def moved(handler: Handler) -> Reply | None:
    return answer(307, Location=handler.path)(handler)


def passing(rng: random.Random) -> Action:
    headers = rng.choice(
        [{}, {}, {"Retry_After": rng.choice(["1", "0", "-1", "x", "9" * 30, "Thu, 01 Jan 1970 00:17:00"])}]
    )
    return answer(rng.choice([408, 425, 429, 500, 502, 503, 504]), read=rng.random() < 0.8, **headers)


def cut(rng: random.Random) -> Action:
    return reset_at(rng.choice([0, 1, rng.randrange(70_000), rng.randrange(130_000)]))


def garbled(rng: random.Random) -> Action:
    return talk(
        rng.choice([
            b"", b"HTTP/1.1 2", b"HTTP/1.1 202 A\r\nRange: 0-0\r\nLocat", b"\0\1\2\r\n\r\n", b"HTTP/1.1 999 A\r\n\r\n",
            b"HTTP/1.1 200 A\r\n" + b"X: y\r\n" * 300, b"HTTP/1.1 400 A\r\nContent-Length: 50\r\n\r\n{",
            b"HTTP/1.1 500 A\r\nContent-Length: 70000000000\r\n\r\n{", b"HTTP/1.1 202 A\r\nX: " + b"y" * 99_999,
        ])
    )  # fmt: skip


def wrong_range(rng: random.Random) -> Action:
    said = rng.choice(
        [None, "0-0", "0--1", "bytes=0-99", "garbage", f"0-{rng.randrange(500_000)}", "0-" + "9" * 18, "5-9"]
    )
    return change(Range=said)


def wrong_location(rng: random.Random) -> Action:
    return change(Location=rng.choice([None, "/v2/me/base/blobs/uploads/0?x=1", "../x", "?y=1", "//127.0.0.1:1/x"]))


PUSH_FAULTS = [
    Kind(cut, "PATCH PUT", 12),
    Kind(one_of(lose_answer), weight=6),
    Kind(passing, weight=8),
    Kind(does_and_says, "PATCH PUT", 3),
    Kind(garbled, weight=3),
    Kind(token_runs_out, weight=5),
    Kind(wrong_range, "PATCH GET", 4),
    Kind(wrong_location, "PATCH POST GET", 1),
    Kind(loses_tail, "PATCH PUT GET", 2),
    Kind(spoils, "PUT PATCH", 1),
    Kind(forgets, "PATCH PUT GET", 1),
    Kind(one_of(moved), weight=1),
    Kind(lambda rng: shortened(rng.random()), "PATCH", 2),
    Kind(one_of(answer(416), error(416, "X", "too large"), answer(413), answer(413, read=False)), "PATCH", 2),
    Kind(one_of(answer(404), answer(405), error(400, "BLOB_UPLOAD_INVALID"), answer(410), answer(501)), "PATCH GET", 1),
    Kind(one_of(error(400, "DIGEST_INVALID"), answer(404), answer(416), answer(429)), "PUT", 1),
    Kind(one_of(change(Docker_Content_Digest=None), change(Docker_Content_Digest="x")), "PUT HEAD", 1),
    Kind(one_of(answer(404), answer(405), change(Content_Length="3")), "HEAD", 2),
    Kind(one_of(change(OCI_Chunk_Min_Length="1000"), change(OCI_Chunk_Max_Length="70000")), "POST", 1),
    Kind(one_of(answer(401), answer(403), answer(400), answer(418)), weight=1),
]


def short_of(rng: random.Random) -> Action:
    return break_off(rng.choice([0, 1, rng.randrange(80_000), rng.randrange(300_000)]), reset=rng.random() < 0.5)


def altered(make: Callable[[bytes], bytes]) -> Fault:
    def act(handler: Handler) -> Reply:
        reply = handler.dispatch()
        if reply.status in {200, 206}:
            reply.body = make(reply.body)
            reply.headers.pop("Content-Length", None)
        return reply

    return lambda rng: act


def gone(handler: Handler) -> Reply:
    raise GoneError


PULL_FAULTS = [
    Kind(short_of, "GET", 20),
    Kind(one_of(lose_answer, gone), weight=4),
    Kind(passing, weight=8),
    Kind(garbled, weight=3),
    Kind(token_runs_out, weight=6),
    Kind(one_of(moved), weight=1),
    Kind(one_of(change(Content_Range=None), change(Content_Range="bytes 0-9/*"), change(Content_Range="x")), "GET", 4),
    Kind(one_of(answer(416)), "GET", 1),
    Kind(altered(lambda body: body[:-1] + bytes([body[-1] ^ 1]) if body else body), "GET", 1, lies=True),
    Kind(altered(lambda body: body + b"x"), "GET", 1, lies=True),
    Kind(altered(lambda body: body[:-1]), "GET", 1, lies=True),
    Kind(one_of(talk(b"HTTP/1.1 200 A\r\nContent-Length: 70000000000\r\n\r\n{")), "GET", 1, lies=True),
    Kind(one_of(answer(200, b""), answer(200, b"x" * 1000)), "GET", 1, lies=True),
    Kind(one_of(answer(401), answer(403), answer(404), answer(418)), weight=1),
]


def declared(caught: BaseException, seed: int, *, lied: bool = True) -> None:
    """Assert that a failure is one that was meant to be, and says what it has to say."""
    assert isinstance(caught, FastociError), f"seed {seed}"
    # That an image is not what it should be is said of one that is not.
    assert lied or not isinstance(caught, BlobMismatchError | InvalidImageError), f"seed {seed}: {caught}"
    assert caught.exit_code in {1, 3, 4, 5}, f"seed {seed}"
    assert caught.cause or isinstance(caught, InvalidImageError), f"seed {seed}: {caught!r}"
    text = f"{caught.what} {caught.cause} {caught.hint}"
    assert text.isprintable(), f"seed {seed}: {text!r}"
    assert len(text) < 1500, f"seed {seed}: {text!r}"
    assert "_state" not in text, f"seed {seed}"
    assert PASSWORD not in text, f"seed {seed}"


def reset(registry: FakeRegistry, auth: str | None) -> None:
    for memory in (registry.blobs, registry.manifests, registry.sessions, registry.tokens, registry.signatures):
        memory.clear()
    for seen in (registry.seen, registry.storage_seen, registry.rules):
        seen.clear()
    registry.auth = auth
    registry.repositories = {"me/base"}
