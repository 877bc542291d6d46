"""Where a fault takes place, and faults that take more than one answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fake_registry import Action, FakeRegistry, Handler, Reply, answer, reset_at
from registrykit import Bytes, Time, noise

DATA = noise(450_001)
CHUNK = 100_000
EVER = 10_000


@dataclass
class Scene:
    """Where a fault takes place."""

    registry: FakeRegistry
    time: Time
    source: Bytes
    over: threading.Event

    def on(self, method: str, action: Action, *, times: int = 1, skip: int = 0, part: str = "/blobs/") -> None:
        self.registry.on(method, part, action, times=times, skip=skip)

    def session(self, handler: Handler) -> bytearray:
        return self.registry.sessions[handler.path.partition("?")[0].rpartition("/")[2]].data


def on(method: str, action: Action, *, times: int = 1, skip: int = 0, part: str = "/blobs/") -> Callable[[Scene], None]:
    return lambda scene: scene.on(method, action, times=times, skip=skip, part=part)


def both(*injections: Callable[[Scene], None]) -> Callable[[Scene], None]:
    return lambda scene: [inject(scene) for inject in injections] and None


def restarted(*, forgets: bool) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        registry, port = scene.registry, scene.registry.server.server_port

        def dies(handler: Handler) -> Reply | None:
            registry.stop()
            if forgets:
                registry.sessions.clear()
                return reset_at(0)(handler)
            return reset_at(10)(handler)

        scene.on("PATCH", dies, skip=1)
        scene.time.after(4, lambda: registry.start(port))

    return inject


def stale_location(scene: Scene) -> None:
    first: list[str] = []

    def act(handler: Handler) -> Reply:
        reply = handler.dispatch()
        first.append(reply.headers.get("Location", ""))
        reply.headers["Location"] = first[0]
        return reply

    scene.on("PATCH", act, times=3)


def spoils(scene: Scene, times: int) -> None:
    def act(handler: Handler) -> Reply:
        scene.session(handler)[7] ^= 1
        return handler.dispatch()

    scene.on("PUT", act, times=times)


def loses_bytes(scene: Scene) -> None:
    def act(handler: Handler) -> Reply:
        handler.read_all()
        del scene.session(handler)[150_000:]
        return Reply(500)

    scene.on("PATCH", act, skip=3)


def keeps_nothing(scene: Scene, times: int) -> None:
    def act(handler: Handler) -> Reply:
        handler.read_all()
        return handler.session_reply(202, "me/base", handler.path.partition("?")[0].rpartition("/")[2])

    scene.on("PATCH", act, times=times, skip=1)


def early(status: int, *, once: bool = True) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        def act(handler: Handler) -> Reply:
            handler.close_connection = True
            if status == 401:
                scene.registry.expire_tokens()
                denied = handler.denied(handler.path)
                assert denied is not None
                return denied
            return Reply(status)

        scene.on("PATCH", act, times=1 if once else EVER, skip=1)

    return inject


def tokens_run_out(scene: Scene) -> None:
    def once(handler: Handler) -> Reply:
        reply = handler.dispatch()
        scene.registry.expire_tokens()
        return reply

    scene.on("*", once, times=EVER, part="/v2/me/base/")


def changed(scene: Scene) -> None:
    scene.source.data = DATA[:-1] + bytes([DATA[-1] ^ 1])


def shrank(scene: Scene) -> None:
    scene.source.data = DATA[:-70_000]


def idle_connection_closed(scene: Scene) -> None:
    def last(handler: Handler) -> None:
        handler.close_connection = True
        reply = handler.dispatch()
        handler.close_connection = False
        handler.send(reply)
        handler.close_connection = True  # without having said so

    scene.on("PATCH", last, times=EVER)


def drips(scene: Scene) -> None:
    def act(handler: Handler) -> None:
        handler.read_all()
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 202 Accepted\r\nX-Endless: ")
        while not scene.over.wait(0.01):
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                return

    scene.on("PATCH", act)


def moved(handler: Handler) -> Reply | None:
    return answer(307, Location=handler.path)(handler)


def too_late(scene: Scene) -> None:
    """The registry has put the blob together, but says 504, and sees it only after a while itself."""

    def act(handler: Handler) -> Reply:
        handler.dispatch()
        scene.on("HEAD", answer(404), times=5)
        return Reply(504)

    scene.on("PUT", act)


def says_it_stands(scene: Scene) -> None:
    def act(handler: Handler) -> Reply:
        handler.read_all()
        return Reply(201)

    scene.on("PUT", act, times=EVER)
