from fastoci._engine.table import EntryTable

PASSING: int

def divide(table: EntryTable, *, limit: int = 0, count: int = 0) -> list[tuple[bytes, bytes]]: ...
