from collections.abc import Callable
from typing import Any, Self, final

@final
class Directories:
    def __new__(cls, basis: int) -> Self: ...
    def __contains__(self, path: bytes) -> bool: ...
    def made(
        self,
        path: bytes,
        inode: int,
        mode: int,
        uid: int,
        gid: int,
        seconds: int,
        nanoseconds: int,
        entry: object = None,
    ) -> None: ...
    def entered(self, path: bytes, inode: int, seconds: int, nanoseconds: int) -> None: ...
    def finish(self, root: int, keep: bool, give: Callable[[int, Any], object]) -> None: ...
