from typing import final

from fastoci._engine.pattern import PatternSet
from fastoci._engine.table import EntryTable

@final
class Scanner:
    @property
    def table(self) -> EntryTable: ...
    def __init__(
        self,
        table: EntryTable,
        patterns: PatternSet,
        *,
        with_xattrs: bool,
        keep_whiteouts: bool,
        xattr_way: int = 0,
    ) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def finish(self) -> None: ...
