"""Named lists and `each` templates in drafts. They are expanded before a draft is checked and frozen.

`lists` at the top of a draft defines named lists. `$name` refers to one of them: a value `$name` becomes the list, an
item `$name` of a list becomes the items of the named list. An item with `each` is a template. It is repeated for
every combination of the levels of its variables; the first variable varies slowest. `{variable}` in its strings and
in its name is replaced by the level. The frozen document holds only the result.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from vjepa_stress.errors import BadDocument, did_you_mean

EACH, LISTS = "each", "lists"
LARGEST = 100_000
"""Maximum number of values that one draft may expand to."""

Level = str | int | float

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMES = "letters, digits and _, not starting with a digit"
_SKIPPED = "_"
_Variables = Mapping[str, Level]


@dataclass(frozen=True)
class _Entry:
    """One level, or a row of several levels. `key` is set when the levels are a mapping."""

    key: str | None
    row: tuple[Level, ...]


_Levels = tuple[_Entry, ...]


def expand(draft: Mapping[str, object], where: object) -> dict[str, object]:
    """Expand all templates and named lists of a draft.

    Args:
        draft: plain values, as read from YAML. They are not modified.
        where: the file, for error messages.

    Returns:
        The same draft without `lists`, `each` and `$name`; equal to `draft` when it uses none of them.

    Raises:
        BadDocument: with the path in the draft, for an unknown name, an unused variable or list, levels that are
            empty or do not match their variables, two entries with the same name, `each` where it is not allowed, or
            an expansion to more than `LARGEST` values.
    """
    expansion = _Expansion(where)
    expansion.define(draft.get(LISTS))
    return expansion.document({key: value for key, value in draft.items() if key != LISTS})


def _is_level(value: object) -> TypeGuard[Level]:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _inside(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _suggestion(name: str, known: Collection[str]) -> str:
    question = did_you_mean(name, known, most=1)
    return f"; {question}" if question else ""


@dataclass
class _Expansion:
    """The expansion of one draft: its named lists, and the lists and variables used so far."""

    where: object
    lists: dict[str, _Levels] = field(default_factory=dict)
    used_lists: set[str] = field(default_factory=set)
    used_variables: set[str] = field(default_factory=set)
    size: int = 0

    def define(self, lists: object) -> None:
        """Read the named lists. A list may refer to the lists above it."""
        if lists is None:
            return
        if not isinstance(lists, Mapping):
            expected = "lists: {name: [level, …], …}"
            raise self._error(LISTS, "`lists` is not a mapping", expected, lists, "give each list a name")
        for key, value in lists.items():
            path, name = f"{LISTS}.{key}", str(key)
            if not _NAME.fullmatch(name):
                raise self._error(path, "invalid name of a list", _NAMES, name, "rename the list")
            self.lists[name] = self._levels(value, path, {})

    def document(self, draft: Mapping[str, object]) -> dict[str, object]:
        """Expand everything except the named lists. Every named list must be used."""
        if EACH in draft:
            raise self._misplaced(EACH)
        expanded = dict(self._mapping(draft, "", {}))
        for name in self.lists:
            if name not in self.used_lists:
                what, expected = f"the list {name} is never used", f"${name} somewhere in the draft"
                raise self._error(f"{LISTS}.{name}", what, expected, fix="use the list or remove it")
        return expanded

    def _error(
        self, path: str, what: str, expected: str | None = None, found: object = None, fix: str | None = None
    ) -> BadDocument:
        return BadDocument(what, where=f"{self.where}, {path}", expected=expected, found=found, fix=fix)

    def _misplaced(self, path: str) -> BadDocument:
        return self._error(
            path,
            "`each` is not allowed here",
            '`each` in an item of a list, or in a named entry whose name has a placeholder, such as "{model}"',
            fix="move `each` to the item to repeat",
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
                        "a different name for each combination of levels",
                        f"{name}, from {names[name]} and {at}" if names[name] != at else name,
                        "use all variables in the name, or rename one of the entries",
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
        """The body of a template and the values of its variables, once for each combination of levels."""
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
                    f"{{{name}}} somewhere in the item",
                    fix=f"use the variable or remove it; name it {_SKIPPED} to skip one value of a row",
                )
        self.used_variables |= used_outside

    # Strings

    def _reference(self, text: str, path: str) -> str | None:
        """The name of the list that a string refers to; None for any other string."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            return None
        name = match[1]
        if name not in self.lists:
            known = ", ".join(f"${known}" for known in self.lists) or "no reference: no list is defined so far"
            fix = f"define {name} in `lists`, or correct the name"
            raise self._error(path, f"there is no list {text}{_suggestion(name, self.lists)}", known, text, fix)
        self.used_lists.add(name)
        return name

    def _listed(self, name: str, path: str) -> list[object]:
        self._count(len(self.lists[name]), path)
        return [entry.row[0] if len(entry.row) == 1 else list(entry.row) for entry in self.lists[name]]

    def _text(self, text: str, path: str, variables: _Variables) -> Level:
        """A string with its placeholders replaced. A string that is one placeholder becomes the level itself."""
        if not variables:
            return text
        self._count(1, path)
        names = _PLACEHOLDER.findall(text)
        for name in names:
            if name not in variables:
                known = ", ".join(f"{{{variable}}}" for variable in variables)
                fix = f"add {name} to `each`, or correct the name"
                raise self._error(
                    path, f"there is no variable {name}{_suggestion(name, variables)}", known, text, fix
                )
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
            raise self._error(_inside(path, EACH), "`each` has no variables", expected, each, "add a variable")
        return each

    def _names(self, each: object, path: str) -> list[tuple[str, ...]]:
        """The variables of each entry of `each`: one, or one for each value of its rows."""
        named = [tuple(name.strip() for name in str(key).split(",")) for key in self._each(each, path)]
        for names in named:
            for name in names:
                if not _NAME.fullmatch(name) or names == (_SKIPPED,):
                    at = _inside(path, EACH)
                    raise self._error(at, "invalid name of a variable", _NAMES, name, "rename the variable")
        return named

    def _check_new(self, names: list[str], outer: _Variables, path: str) -> None:
        for name in names:
            if name != _SKIPPED and (names.count(name) > 1 or name in outer):
                where = "already defined in the enclosing item" if name in outer else "defined twice"
                raise self._error(_inside(path, EACH), f"the variable {name} is {where}", fix="rename the variable")

    def _levels(self, value: object, path: str, variables: _Variables) -> _Levels:
        """The levels given as a list, as a mapping of keys to levels, or as the name of a list."""
        if isinstance(value, str) and (name := self._reference(value, path)) is not None:
            return self.lists[name]
        entries: list[_Entry] = []
        if isinstance(value, Mapping):
            for key, item in value.items():
                entries.append(_Entry(str(key), self._row(item, _inside(path, key), variables)))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                at = f"{path}[{number}]"
                name = self._reference(item, at) if isinstance(item, str) else None
                entries += [_Entry(None, self._row(item, at, variables))] if name is None else self.lists[name]
        if not entries:
            expected = "a list of levels, a mapping of keys to levels, or $name for one of `lists`"
            raise self._error(path, "there are no levels", expected, value, "add a level")
        self._count(len(entries), path)
        return tuple(entries)

    def _row(self, value: object, path: str, variables: _Variables) -> tuple[Level, ...]:
        values = value if isinstance(value, list) else [value]
        row = tuple(self._text(item, path, variables) if isinstance(item, str) else item for item in values)
        if not row or not all(map(_is_level, row)):
            expected = "a string or a number, or a list of them"
            raise self._error(path, "invalid level", expected, value, "quote true, false, null and dates")
        return row  # type: ignore[return-value]  # every value was just checked

    def _rows(
        self, names: tuple[str, ...], value: object, path: str, variables: _Variables
    ) -> list[tuple[Level, ...]]:
        """The values of some variables, one row per level. With several variables, a key is the first value."""
        rows = []
        for entry in self._levels(value, path, variables):
            row = entry.row if entry.key is None or len(names) == 1 else (entry.key, *entry.row)
            if len(row) != len(names):
                expected, found = f"{len(names)} for {', '.join(names)}", f"{len(row)} in {list(row)}"
                fix = "give each row one value per variable"
                raise self._error(path, "a row has the wrong number of values", expected, found, fix)
            rows.append(row)
        return rows
