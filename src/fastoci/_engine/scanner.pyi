from typing import Self, final

from fastoci._engine.pattern import PatternSet
from fastoci._engine.table import EntryTable

def keeps_xattr(name: bytes) -> bool: ...

@final
class Scanner:
    @property
    def table(self) -> EntryTable: ...
    def __new__(
        cls,
        table: EntryTable,
        patterns: PatternSet,
        *,
        with_xattrs: bool,
        keep_whiteouts: bool,
        one_file_system: bool = False,
        xattr_way: int = 0,
        cold_after: int = 16,
    ) -> Self: ...
    def run(self, *, may_ask: bool = False) -> bool: ...
    def stop(self) -> None: ...
    def finish(self) -> None: ...
