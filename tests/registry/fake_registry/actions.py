"""What can be put in the way of a request: an answer of another's making, a cut, a silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from fake_registry.registry import GoneError, Reply

if TYPE_CHECKING:
    from fake_registry.handler import Handler

__all__ = ["Action", "answer", "break_off", "change", "error", "lose_answer", "reset_at", "shortened", "silent", "talk"]

Action = Callable[["Handler"], Reply | None]


def answer(status: int, body: bytes | str = b"", *, read: bool = True, **headers: str) -> Action:
    """Answer without doing anything; `read` says whether the request's body is read before."""

    def act(handler: Handler) -> Reply:
        if read:
            handler.read_all()
        else:
            handler.close_connection = True
        data = body.encode() if isinstance(body, str) else body
        return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)

    return act


def error(status: int, code: str, message: str = "", **headers: str) -> Action:
    return answer(status, json.dumps({"errors": [{"code": code, "message": message}]}), **headers)


def reset_at(count: int) -> Action:
    """Take `count` bytes of the body, then reset the connection."""

    def act(handler: Handler) -> Reply | None:
        handler.cut_after = count
        return handler.dispatch()

    return act


def lose_answer(handler: Handler) -> Reply | None:
    """Do what is asked, and reset the connection before the answer."""
    handler.dispatch()
    raise GoneError


def change(**headers: str | None) -> Action:
    """Do what is asked, and answer with other headers; None takes one out."""

    def act(handler: Handler) -> Reply:
        reply = handler.dispatch()
        for name, value in headers.items():
            key = name.replace("_", "-")
            reply.headers.pop(key, None)
            if value is not None:
                reply.headers[key] = value
        return reply

    return act


def break_off(at: int, *, reset: bool = False) -> Action:
    """Do what is asked, and stop answering after `at` bytes of the body."""

    def act(handler: Handler) -> None:
        reply = handler.dispatch()
        if reply.status in {301, 302, 307, 308} or at >= len(reply.body):
            handler.send(reply)
            return
        handler.send_head(reply)
        handler.wfile.write(reply.body[:at])
        handler.wfile.flush()
        if reset:
            raise GoneError
        handler.close_connection = True

    return act


def shortened(part: float) -> Action:
    """Take only a part of a chunk, and say so, as a registry may (a Range that ends lower than what was sent)."""

    def act(handler: Handler) -> Reply:
        size = handler.unread
        taken = max(1, int(size * part))
        start, _, _ = (handler.headers["Content-Range"] or "0-").partition("-")
        handler.headers.replace_header("Content-Range", f"{start}-{int(start) + taken - 1}")
        handler.unread = taken
        reply = handler.dispatch()
        handler.unread = size - taken
        while handler.unread and handler.read(handler.unread):
            pass
        return reply

    return act


def silent(over: threading.Event, *, read: bool = True) -> Action:
    """Say nothing until `over` is set, then close; `read` says whether the request's body is read."""

    def act(handler: Handler) -> None:
        if read:
            handler.read_all()
        over.wait(20)
        handler.unread = 0
        handler.close_connection = True

    return act


def talk(words: bytes, *, again: int = 1) -> Action:
    """Write `words` as they are, `again` times, and close."""

    def act(handler: Handler) -> None:
        handler.read_all()
        handler.close_connection = True
        for _ in range(again):
            handler.wfile.write(words)

    return act
