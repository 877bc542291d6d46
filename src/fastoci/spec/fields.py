"""Reading an object of a document field by field: each is checked for its type, and an error names it.

A field that is null is a field that is not there, as it is to the Go programs that write most documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastoci.errors import InvalidImageError
from fastoci.spec.digest import Digest

__all__ = ["Fields"]

_INT64_MAX = (1 << 63) - 1


class Fields:
    """One object of a document, and which of its fields were asked for.

    Args:
        obj: What `json` made of it.
        where: What to call it in an error, as `the manifest` or `layers[2]`.

    Raises:
        InvalidImageError: It is no object.
    """

    __slots__ = ("_known", "_obj", "where")

    def __init__(self, obj: object, where: str) -> None:
        if not isinstance(obj, Mapping):
            raise InvalidImageError(f"{where} is not an object")
        self._obj: Mapping[str, Any] = obj
        self._known: set[str] = set()
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self._obj.get(name) is not None

    def _get(self, name: str, expected: type, kind: str) -> Any:  # noqa: ANN401 - of the type expected, or None
        self._known.add(name)
        value = self._obj.get(name)
        if value is None:
            return None
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise self.error(name, f"is not {kind}")
        return value

    def error(self, name: str, problem: str) -> InvalidImageError:
        """Return the error that says that the field `name` has a `problem`."""
        return InvalidImageError(f"{self.where}: {name} {problem}")

    def _required(self, name: str, value: Any) -> Any:  # noqa: ANN401 - the same value
        if value is None:
            raise self.error(name, "is missing")
        return value

    def text(self, name: str) -> str | None:
        """Return a string, None where there is none."""
        value: str | None = self._get(name, str, "a string")
        return value

    def required_text(self, name: str) -> str:
        """Return a string that must be there and not be empty."""
        value: str = self._required(name, self.text(name) or None)
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean, False where there is none."""
        return bool(self._get(name, bool, "true or false"))

    def required_size(self, name: str) -> int:
        """Return a number of bytes: an int64 that is not negative (descriptor.md, "size")."""
        value: int = self._required(name, self._get(name, int, "an integer"))
        if not 0 <= value <= _INT64_MAX:
            raise self.error(name, f"is {value}, not a number of bytes")
        return value

    def required_digest(self, name: str) -> Digest:
        """Return a digest."""
        try:
            return Digest.parse(self.required_text(name))
        except InvalidImageError as error:
            raise self.error(name, f"is {error}") from None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return an array of strings, None where there is none."""
        values: list[Any] | None = self._get(name, list, "an array")
        if values is None:
            return None
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{name}[{position}]", "is not a string")
        return tuple(values)

    def text_map(self, name: str) -> dict[str, str] | None:
        """Return an object whose values are strings, None where there is none."""
        values: dict[str, Any] | None = self._get(name, dict, "an object")
        if values is None:
            return None
        for key, value in values.items():
            if not isinstance(value, str):
                raise self.error(f"{name}[{key[:80]!r}]", "is not a string")
        return dict(values)

    def key_set(self, name: str) -> tuple[str, ...] | None:
        """Return the keys of an object that stands for a set (config.md, "ExposedPorts"), None where there is none."""
        values: dict[str, Any] | None = self._get(name, dict, "an object")
        return None if values is None else tuple(values)

    def object(self, name: str) -> Fields | None:
        """Return an object within this one, None where there is none."""
        value = self._get(name, dict, "an object")
        return None if value is None else Fields(value, f"{self.where}: {name}")

    def required_object(self, name: str) -> Fields:
        """Return an object that must be there."""
        value: Fields = self._required(name, self.object(name))
        return value

    def objects(self, name: str, *, required: bool = False) -> list[Fields]:
        """Return an array of objects.

        Args:
            name: The field.
            required: True: the field must be there, though it may be null, which is how Go writes an empty one.
        """
        if required and name not in self._obj:
            raise self.error(name, "is missing")
        values: list[Any] | None = self._get(name, list, "an array")
        return [Fields(value, f"{self.where}: {name}[{position}]") for position, value in enumerate(values or ())]

    def rest(self) -> dict[str, Any]:
        """Return the fields that nobody asked for, as they are."""
        return {name: value for name, value in self._obj.items() if name not in self._known}
