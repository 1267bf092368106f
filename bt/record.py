"""Named values that belong together and do not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, Self, dataclass_transform

_WANTED = object()  # where a field has no default


@dataclass_transform(frozen_default=True)
class Record:
    """What `@dataclass(frozen=True)` makes of a class, for those that every start needs.

    To import `dataclasses` takes 8 ms of a start of 130, and a class of it another 1 to 2. Here a class that derives
    from this one has the fields that it annotates, in that order, with the defaults it gives them, one for all
    instances; those of its bases are not among them. `__post_init__` may look at them, and set what is no field.
    """

    FIELDS: ClassVar[Mapping[str, object]]  # names, with their defaults or `_WANTED`

    def __init_subclass__(cls) -> None:
        cls.FIELDS = {name: vars(cls).get(name, _WANTED) for name in cls.__annotations__}

    def __init__(self, *values: object, **named: object) -> None:
        """Raises TypeError as a function of these parameters does."""
        fields = self.FIELDS
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__}: {len(values)} values for {len(fields)} fields")
        given = dict(zip(fields, values, strict=False))
        if wrong := named.keys() & given.keys() or named.keys() - fields.keys():
            raise TypeError(f"{type(self).__name__}: {', '.join(sorted(wrong))} given twice, or no field")
        found = {**fields, **given, **named}
        if missing := [name for name, value in found.items() if value is _WANTED]:
            raise TypeError(f"{type(self).__name__}: no {', '.join(missing)}")
        vars(self).update(found)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Raise what is to be raised where the values are wrong."""

    def replace(self, **changed: Any) -> Self:
        """The same with other values: made and checked anew."""
        return type(self)(**(self._values() | changed))

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.FIELDS}

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.FIELDS:
            self._refuse(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Record)
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"
