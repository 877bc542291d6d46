from typing import Self, TypeAlias, final

from fastoci._engine.table import KINDS as KINDS
from fastoci._engine.table import EntryTable

# Name, kind, mode, uid, gid, mtime, size, content, xattrs, file, links.
_Facts: TypeAlias = tuple[bytes, str, int | None, int, int, int, int, bytes | int, dict[bytes, bytes], int, int]

@final
class Filler:
    @property
    def table(self) -> EntryTable: ...
    def __new__(cls, table: EntryTable) -> Self: ...
    def fill(self, children: list[_Facts]) -> None: ...
    def finish(self) -> None: ...
