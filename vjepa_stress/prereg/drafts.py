"""Repetition in drafts: named lists and `each`, written out in full before a draft is checked and frozen.

`lists` at the top of a draft names lists. `$name` stands for one: as a value it is the list, as an item of a list it
is the items. An item with `each` is a template. It is repeated for every combination of the levels of its variables,
the first variable slowest, and `{variable}` in its strings and in its name becomes the level. The frozen document
holds only the result.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from vjepa_stress.errors import BadDocument

EACH, LISTS = "each", "lists"
LARGEST = 100_000
"""Values that the templates and lists of one draft may expand to."""

Level = str | int | float

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SKIPPED = "_"
_Variables = Mapping[str, Level]


@dataclass(frozen=True)
class _Entry:
    """One level, or a row of several; with its key when the levels are a mapping."""

    key: str | None
    row: tuple[Level, ...]


_Levels = tuple[_Entry, ...]


def expand(draft: Mapping[str, object], where: object) -> dict[str, object]:
    """Write out every template and named list of a draft.

    Args:
        draft: plain values, as read from YAML. They are not changed.
        where: the file, for error messages.

    Returns:
        The same draft without `lists`, `each` and `$name`; equal to `draft` when it has none of them.

    Raises:
        BadDocument: with the path in the draft, for an unknown name, an unused variable or list, levels that are
            empty or do not fit their variables, two entries with one name, `each` where nothing can be repeated, or
            an expansion to more than `LARGEST` values.
    """
    expansion = _Expansion(where)
    expansion.define(draft.get(LISTS))
    return expansion.document({key: value for key, value in draft.items() if key != LISTS})


def _is_level(value: object) -> TypeGuard[Level]:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _inside(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


@dataclass
class _Expansion:
    """The expansion of one draft: its named lists, and what of them and of the variables was used so far."""

    where: object
    lists: dict[str, _Levels] = field(default_factory=dict)
    used_lists: set[str] = field(default_factory=set)
    used_variables: set[str] = field(default_factory=set)
    size: int = 0

    def define(self, lists: object) -> None:
        """Read the named lists; each may use those above it."""
        if lists is None:
            return
        if not isinstance(lists, Mapping):
            raise self._error(LISTS, "`lists` is not a mapping", "lists: {name: [level, …], …}", lists)
        for key, value in lists.items():
            path, name = f"{LISTS}.{key}", str(key)
            if not _NAME.fullmatch(name):
                raise self._error(path, "this name cannot be used", "letters, digits and _, no digit first", name)
            self.lists[name] = self._levels(value, path, {})

    def document(self, draft: Mapping[str, object]) -> dict[str, object]:
        """Expand everything but the named lists, all of which must be used."""
        if EACH in draft:
            raise self._misplaced(EACH)
        expanded = dict(self._mapping(draft, "", {}))
        for name in self.lists:
            if name not in self.used_lists:
                expected = f"${name} somewhere in the draft"
                raise self._error(f"{LISTS}.{name}", "this list is never used", expected, None, "remove it")
        return expanded

    def _error(
        self, path: str, what: str, expected: str | None = None, found: object = None, fix: str | None = None
    ) -> BadDocument:
        return BadDocument(what, where=f"{self.where}, {path}", expected=expected, found=found, fix=fix)

    def _misplaced(self, path: str) -> BadDocument:
        return self._error(
            path,
            "`each` stands where nothing can be repeated",
            '`each` in an item of a list, or in a named entry whose name has a placeholder, such as "{model}"',
            fix="move `each` to the item that is to be repeated",
        )

    def _count(self, values: int, path: str) -> None:
        self.size += values
        if self.size > LARGEST:
            raise self._error(
                path, "this draft expands to too many values", f"at most {LARGEST}", fix="use fewer or shorter lists"
            )

    # Values

    def _value(self, value: object, path: str, variables: _Variables) -> object:
        if isinstance(value, str):
            name = self._reference(value, path)
            return self._text(value, path, variables) if name is None else self._listed(name, path)
        if isinstance(value, Mapping):
            if EACH in value:
                raise self._misplaced(_inside(path, EACH))
            return dict(self._mapping(value, path, variables))
        if isinstance(value, list):
            return list(self._list(value, path, variables))
        self._count(bool(variables), path)
        return value

    def _mapping(
        self, mapping: Mapping[str, object], path: str, variables: _Variables
    ) -> Iterator[tuple[str, object]]:
        names: dict[str, str] = {}
        for key, value in mapping.items():
            at = _inside(path, key)
            entries: Iterator[tuple[str, object]]
            if isinstance(value, Mapping) and EACH in value:
                entries = self._named(key, value, at, variables)
            else:
                entries = iter([(self._key(key, at, variables), self._value(value, at, variables))])
            for name, entry in entries:
                if name in names:
                    raise self._error(
                        at,
                        "two entries have the same name",
                        "a name for each combination of levels: use all variables in it",
                        f"{name}, from {names[name]} and {at}" if names[name] != at else name,
                    )
                names[name] = at
                yield name, entry

    def _named(
        self, key: str, template: Mapping[str, object], path: str, outer: _Variables
    ) -> Iterator[tuple[str, object]]:
        variables = {name for names in self._names(template[EACH], path) for name in names}
        if not variables & set(_PLACEHOLDER.findall(str(key))):
            raise self._misplaced(_inside(path, EACH))
        for body, inner in self._repeated(template, path, outer):
            yield self._key(key, path, inner), self._value(body, path, inner)

    def _list(self, items: list[object], path: str, variables: _Variables) -> Iterator[object]:
        for number, item in enumerate(items):
            at = f"{path}[{number}]"
            if isinstance(item, Mapping) and EACH in item:
                for body, inner in self._repeated(item, at, variables):
                    yield self._value(body, at, inner)
            elif isinstance(item, str) and (name := self._reference(item, at)) is not None:
                yield from self._listed(name, at)
            else:
                yield self._value(item, at, variables)

    def _repeated(
        self, template: Mapping[str, object], path: str, outer: _Variables
    ) -> Iterator[tuple[dict[str, object], _Variables]]:
        """The body of a template, once for each combination of levels with the variables that hold there."""
        body = {key: value for key, value in template.items() if key != EACH}
        named = self._names(template[EACH], path)
        used_outside, self.used_variables = self.used_variables, set()
        rows = [
            self._rows(names, value, _inside(path, f"{EACH}.{key}"), outer)
            for names, (key, value) in zip(named, self._each(template[EACH], path).items(), strict=True)
        ]
        self._check_new([name for names in named for name in names], outer, path)
        self._count(math.prod(map(len, rows)), path)
        for combination in itertools.product(*rows):
            levels = {
                name: level
                for names, row in zip(named, combination, strict=True)
                for name, level in zip(names, row, strict=True)
                if name != _SKIPPED
            }
            yield body, {**outer, **levels}
        for name in itertools.chain(*named):
            if name not in {*self.used_variables, _SKIPPED}:
                raise self._error(
                    _inside(path, EACH),
                    f"the variable {name} is never used",
                    f"{{{name}}} in the item",
                    fix=f"use it or remove it; {_SKIPPED} skips a value of a row",
                )
        self.used_variables |= used_outside

    # Strings

    def _reference(self, text: str, path: str) -> str | None:
        """The list that a string stands for, or None for any other string."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            return None
        name = match[1]
        if name not in self.lists:
            known = ", ".join(f"${one}" for one in self.lists) or "no list: the draft has no `lists`"
            raise self._error(path, f"there is no list {text}{_near(name, self.lists)}", known, text)
        self.used_lists.add(name)
        return name

    def _listed(self, name: str, path: str) -> list[object]:
        self._count(len(self.lists[name]), path)
        return [entry.row[0] if len(entry.row) == 1 else list(entry.row) for entry in self.lists[name]]

    def _text(self, text: str, path: str, variables: _Variables) -> Level:
        """A string with its placeholders filled in; a placeholder alone is the level itself."""
        if not variables:
            return text
        self._count(1, path)
        names = _PLACEHOLDER.findall(text)
        for name in names:
            if name not in variables:
                known = ", ".join(f"{{{one}}}" for one in variables)
                raise self._error(path, f"there is no variable {name}{_near(name, variables)}", known, text)
        self.used_variables.update(names)
        if len(names) == 1 and text == f"{{{names[0]}}}":
            return variables[names[0]]
        return _PLACEHOLDER.sub(lambda match: str(variables[match[1]]), text)

    def _key(self, key: object, path: str, variables: _Variables) -> str:
        return str(self._text(str(key), path, variables))

    # Levels

    def _each(self, each: object, path: str) -> Mapping[str, object]:
        if not isinstance(each, Mapping) or not each:
            expected = "each: {variable: [level, …], …}"
            raise self._error(_inside(path, EACH), "`each` names no variable", expected, each)
        return each

    def _names(self, each: object, path: str) -> list[tuple[str, ...]]:
        """The variables of every line of `each`: one, or as many as its rows have values."""
        named = [tuple(name.strip() for name in str(key).split(",")) for key in self._each(each, path)]
        for names in named:
            for name in names:
                if not _NAME.fullmatch(name) or names == (_SKIPPED,):
                    expected = "letters, digits and _, no digit first"
                    raise self._error(_inside(path, EACH), "this variable cannot be used", expected, name)
        return named

    def _check_new(self, names: list[str], outer: _Variables, path: str) -> None:
        for name in names:
            if name != _SKIPPED and (names.count(name) > 1 or name in outer):
                where = "in the item around this one" if name in outer else "twice"
                raise self._error(
                    _inside(path, EACH), f"the variable {name} is defined {where}", fix="choose another name"
                )

    def _levels(self, value: object, path: str, variables: _Variables) -> _Levels:
        """The levels that a list, a mapping of keys to levels or the name of a list stands for."""
        if isinstance(value, str) and (name := self._reference(value, path)) is not None:
            return self.lists[name]
        entries: list[_Entry] = []
        if isinstance(value, Mapping):
            for key, one in value.items():
                entries.append(_Entry(str(key), self._row(one, _inside(path, key), variables)))
        elif isinstance(value, list):
            for number, one in enumerate(value):
                at = f"{path}[{number}]"
                name = self._reference(one, at) if isinstance(one, str) else None
                entries += [_Entry(None, self._row(one, at, variables))] if name is None else self.lists[name]
        if not entries:
            expected = "a list of levels, a mapping of keys to levels, or $name for one of `lists`"
            raise self._error(path, "there are no levels", expected, value)
        self._count(len(entries), path)
        return tuple(entries)

    def _row(self, value: object, path: str, variables: _Variables) -> tuple[Level, ...]:
        values = value if isinstance(value, list) else [value]
        row = tuple(self._text(one, path, variables) if isinstance(one, str) else one for one in values)
        if not row or not all(map(_is_level, row)):
            raise self._error(path, "this cannot be a level", "a text or a number, or a list of them", value)
        return row  # type: ignore[return-value]  # every value was just checked

    def _rows(
        self, names: tuple[str, ...], value: object, path: str, variables: _Variables
    ) -> list[tuple[Level, ...]]:
        """The values of some variables, level by level; with several variables, a key is the first value."""
        rows = []
        for entry in self._levels(value, path, variables):
            row = entry.row if entry.key is None or len(names) == 1 else (entry.key, *entry.row)
            if len(row) != len(names):
                expected = f"{len(names)} for {', '.join(names)}"
                raise self._error(path, "a row has another number of values", expected, f"{len(row)} in {list(row)}")
            rows.append(row)
        return rows
