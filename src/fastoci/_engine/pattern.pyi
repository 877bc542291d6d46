from typing import Self, final

OPS: dict[str, int]

@final
class PatternSet:
    @property
    def count(self) -> int: ...
    @property
    def has_negations(self) -> bool: ...
    def __new__(
        cls, patterns: list[tuple[bool, list[list[tuple[str, int | list[tuple[int, int]] | None]]]]]
    ) -> Self: ...
    def excludes_path(self, path: bytes) -> bool: ...
