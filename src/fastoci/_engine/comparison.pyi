from typing import Self, final

from fastoci._engine.table import EntryTable

@final
class Comparison:
    @property
    def table(self) -> EntryTable: ...
    @property
    def base(self) -> EntryTable: ...
    @property
    def pair_count(self) -> int: ...
    def __new__(
        cls,
        table: EntryTable,
        base: EntryTable,
        *,
        uid: int = -1,
        gid: int = -1,
        mtime_limit: int | None = None,
        mtime: int | None = None,
        modes: bytes | None = None,
        recorded: bool = False,
        may_hide: bool = True,
    ) -> Self: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def selection(self) -> bytes: ...
