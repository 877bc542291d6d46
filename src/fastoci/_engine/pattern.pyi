from typing import final

OPS: dict[str, int]

@final
class PatternSet:
    @property
    def count(self) -> int: ...
    @property
    def has_negations(self) -> bool: ...
    def __init__(
        self, patterns: list[tuple[bool, list[list[tuple[str, int | list[tuple[int, int]] | None]]]]]
    ) -> None: ...
    def excludes_path(self, path: bytes) -> bool: ...
