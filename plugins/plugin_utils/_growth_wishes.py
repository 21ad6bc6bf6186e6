# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Which volumes are to have which size, out of whatever an operator has: data, YAML, JSON, CSV, or lines of text.

YAML and JSON are read as a tree of texts with line numbers (``yaml.compose``), not as values: a key that is there twice is then seen, and ``800`` or
``yes`` stays what was written.
"""

from __future__ import annotations

import collections.abc as c
import csv
import json
import os
import re
import typing as t
from dataclasses import asdict, dataclass

import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError, parse_image_size

KEYS = ("volume", "size", "exact", "comment")

_TRUE = ("true", "yes", "on", "1", "y", "t", "exact")
_FALSE = ("false", "no", "off", "0", "n", "f", "")
#: Text that is YAML and not lines of ``VOLUME SIZE``: a list, a document, or ``HANDLE: ...`` (a colon inside a handle has no space after it).
_YAML = re.compile(r"^(-\s|---|[^\s#].*:(\s|$))")
_HOW = "write lines VOLUME SIZE (or VOLUME,SIZE), YAML or JSON, for example: rbd/vm1 800G"


class WishError(Exception):
    """The list as a whole cannot be used; the text says what to write."""


@dataclass
class Wish:
    """One line: ``where`` names it for people, ``problem`` says what is wrong with it. ``size_bytes`` 0: it could not be read."""

    where: str
    volume: str = ""
    size: str = ""
    size_bytes: int = 0
    exact: bool = False
    problem: str = ""


@dataclass
class Raw:
    """A line before its fields are judged."""

    where: str
    fields: dict[str, t.Any]
    problem: str = ""


def wishes_of(volumes: t.Any = None, volumes_file: str = "", size: t.Any = "", exact: bool = False, handles: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
    """The wishes in ``volumes`` (data or text), in ``volumes_file`` (a path on the controller), or else one for each of ``handles``.

    ``size`` and ``exact`` are for lines without their own. What is wrong with a line is its ``problem``, so that all can be told at once, together
    with what only the inventory shows. Without any of the three the list is empty: then the only volume is meant, with ``size``. Raises
    :class:`WishError` for a list that cannot be read or has nothing in it, for more than one source, and for no size at all.
    """
    given = _given(volumes)
    path = str(volumes_file or "").strip()
    if sum(1 for source in (given, path, list(handles)) if source not in (None, "", [])) > 1 or (given == [] and (path or handles)):
        raise WishError("volumes are given in more than one way; use one of volume (with size), volumes (a list), volumes_file (a path)")
    if given is None and not path:
        if not str(size or "").strip():
            raise WishError("no size was given; say how large the volume shall be, for example -e size=800G, or give a list with sizes (volumes, volumes_file)")
        return [asdict(_judged(Raw("volume", {"volume": handle}), size, exact)) for handle in handles]
    source = f"volumes_file {path}" if path else "volumes"
    raws = _from_file(path) if path else _from_text(given, source) if isinstance(given, str) else _from_data(given, source)
    if not raws:
        raise WishError(f"{source} has no volume in it; {_HOW}")
    wishes = [_judged(raw, size, exact) for raw in raws]
    first: dict[str, Wish] = {}
    for wish in wishes:
        before = first.setdefault(wish.volume, wish)
        if wish.volume and before is not wish and not wish.problem:
            wish.problem = f"{wish.volume} is on {before.where} already; name every volume once"
    return [asdict(wish) for wish in wishes]


def _given(volumes: t.Any) -> t.Any:
    """``volumes`` as it was given; None for nothing, which an empty answer of a form is, too."""
    if volumes is None or (isinstance(volumes, str) and not volumes.strip()):
        return None
    return volumes


# -- what the fields say -----------------------------------------------------------------------------------------------


def _judged(raw: Raw, size: t.Any, exact: bool) -> Wish:
    wish = Wish(raw.where, problem=raw.problem, exact=exact)
    if wish.problem:
        return wish
    unknown = [str(key) for key in raw.fields if key not in KEYS]
    if unknown:
        wish.problem = f"unknown key {', '.join(unknown)}; a volume has {', '.join(KEYS)}"
        return wish
    for key, value in raw.fields.items():
        if isinstance(value, (dict, list)):
            wish.problem = f"{key} is not text"
            return wish
    wish.volume = _text(raw.fields.get("volume"))
    if not wish.volume:
        wish.problem = "no volume is named; write pool/image, a UUID, domain:disk or another name of it"
        return wish
    wish.size = _text(raw.fields.get("size")) or _text(size)
    if not wish.size:
        wish.problem = f"{wish.volume} has no size, and there is no size for all; write one such as 800G"
        return wish
    try:
        wish.size_bytes = parse_image_size(wish.size)
    except CapacityError as error:
        wish.problem = f"{wish.volume}: {error}"
    word = _text(raw.fields.get("exact")).lower()
    if word in _TRUE + _FALSE:
        wish.exact = word in _TRUE if word else exact
    else:
        wish.problem = wish.problem or f"{wish.volume}: exact is {word!r}, neither true nor false"
    return wish


def _text(value: t.Any) -> str:
    return "" if value is None else str(value).strip()


# -- where they come from ----------------------------------------------------------------------------------------------


def _from_file(path: str) -> list[Raw]:
    try:
        # a spreadsheet writes a byte order mark before the first column's name
        with open(os.path.expanduser(path), encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise WishError(f"volumes_file {path} cannot be read on the controller: {reason}; give the path of a .yml, .json or .csv file there") from error
    source, kind = f"volumes_file {path}", os.path.splitext(path)[1].lower()
    if kind == ".csv":
        return _from_rows(text)
    if kind in (".yml", ".yaml", ".json"):
        return _from_yaml(text, source)
    return _from_text(text, source)


def _from_text(text: str, source: str) -> list[Raw]:
    """Text of any form; what it is shows in its first line that says something."""
    text = text.lstrip("\ufeff")
    head = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    if head.lstrip()[:1] in ("[", "{") or _YAML.match(head):
        return _from_yaml(text, source)
    # a separator in the first line stands for all: a header has one, and so has a table pasted from a spreadsheet
    if any(mark in head for mark in ",;\t"):
        return _from_rows(text)
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            found.append(Raw(f"line {number}", *_words(line)))
    return found[1:] if found and _columns(head.split()) else found


def _words(line: str) -> tuple[dict[str, t.Any], str]:
    """``VOLUME``, ``VOLUME SIZE`` or ``VOLUME SIZE exact``; also with a comma, and with a space before the unit."""
    words = line.replace(",", " ").split()
    if len(words) > 2 and words[1].isdigit() and words[2].isalpha() and words[2].lower() != "exact":
        words[1:3] = [words[1] + words[2]]
    if len(words) > 3 or (len(words) == 3 and words[2].lower() != "exact"):
        return {}, f"{line.strip()!r} cannot be read; write VOLUME SIZE, and exact after it if a larger image is an error"
    return dict(zip(KEYS, words)), ""


def _columns(cells: t.Sequence[str]) -> list[str] | None:
    """The names of the columns, if this is a header."""
    names = [cell.strip().lower() for cell in cells]
    return names if "volume" in names else None


def _from_rows(text: str) -> list[Raw]:
    """A table with ``,``, ``;`` or tabs between its cells, with or without a header."""
    head = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    mark = next((mark for mark in (";", "\t") if mark in head), ",")
    found: list[Raw] = []
    columns: list[str] | None = None
    reader = csv.reader(text.splitlines(keepends=True), delimiter=mark, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                continue
            if columns is None:
                columns = _columns(cells)
                if columns is not None:
                    continue
                columns = list(KEYS)
            where = f"line {reader.line_num}"
            if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
                found.append(Raw(where, {}, f"it has {len(cells)} cells, the header {len(columns)} ({', '.join(columns)})"))
            elif len(cells) == 1 and columns[0] == "volume":
                found.append(Raw(where, *_words(cells[0])))  # a line with blanks among lines with commas
            else:
                found.append(Raw(where, {key: cell.strip() for key, cell in zip(columns, cells) if key or cell.strip()}))
    except csv.Error as error:
        found.append(Raw(f"line {reader.line_num}", {}, f"it is no CSV: {error}"))
    return found


def _from_yaml(text: str, source: str) -> list[Raw]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        try:
            # JSON may be indented by tabs, YAML not
            return _from_data(json.loads(text, object_pairs_hook=_without_twins), source)
        except ValueError:
            mark = getattr(error, "problem_mark", None)
            where = f" at line {mark.line + 1}" if mark else ""
            reason = getattr(error, "problem", None) or "not one document"
            raise WishError(f"{source} is neither YAML nor JSON{where}: {reason}; {_HOW}") from error
    if root is None:
        return []
    return _entries(root, source, _Node)


def _without_twins(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    if len({key for key, _value in pairs}) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _from_data(data: t.Any, source: str) -> list[Raw]:
    return _entries(data, source, _Data)


class _Data:
    """Lists and dictionaries, as ``-e '{"volumes": [...]}'`` gives them."""

    @staticmethod
    def items(value: t.Any) -> list[tuple[str, t.Any]] | None:
        return [("" if key is None else str(key), item) for key, item in value.items()] if isinstance(value, c.Mapping) else None

    @staticmethod
    def elements(value: t.Any) -> list[t.Any] | None:
        return list(value) if isinstance(value, c.Sequence) and not isinstance(value, str) else None

    @staticmethod
    def scalar(value: t.Any) -> t.Any:
        return value

    @staticmethod
    def where(_value: t.Any, number: int) -> str:
        return f"entry {number}"


class _Node:
    """The same over the tree of a YAML or JSON text."""

    @staticmethod
    def items(value: yaml.Node) -> list[tuple[str, yaml.Node]] | None:
        if not isinstance(value, yaml.MappingNode):
            return None
        return [(key.value if isinstance(key, yaml.ScalarNode) else "", item) for key, item in value.value]

    @staticmethod
    def elements(value: yaml.Node) -> list[yaml.Node] | None:
        return list(value.value) if isinstance(value, yaml.SequenceNode) else None

    @staticmethod
    def scalar(value: yaml.Node) -> t.Any:
        if not isinstance(value, yaml.ScalarNode):
            return []
        return None if value.tag == "tag:yaml.org,2002:null" else value.value

    @staticmethod
    def where(value: yaml.Node, _number: int) -> str:
        return f"line {value.start_mark.line + 1}"


def _entries(root: t.Any, source: str, reader: type[_Data] | type[_Node]) -> list[Raw]:
    """A list of entries, a mapping of handles to sizes, or either under the key ``volumes``."""
    pairs = reader.items(root)
    if pairs is not None and [key for key, _value in pairs] == ["volumes"] and reader.elements(pairs[0][1]) is not None:
        root, pairs = pairs[0][1], None
    elements = reader.elements(root)
    if elements is not None:
        return [_entry(element, number, reader) for number, element in enumerate(elements, start=1)]
    if pairs is None:
        raise WishError(f"{source} is neither a list of volumes nor volumes with their sizes; {_HOW}")
    if "volume" in (key for key, _value in pairs):
        return [_entry(root, 1, reader)]
    return [_pair(key, value, number, reader) for number, (key, value) in enumerate(pairs, start=1)]


def _entry(element: t.Any, number: int, reader: type[_Data] | type[_Node]) -> Raw:
    where = reader.where(element, number)
    pairs = reader.items(element)
    if pairs is None:
        if reader.elements(element) is not None:
            return Raw(where, {}, "a list in the list; write {volume: ..., size: ...}")
        return Raw(where, *_words(_text(reader.scalar(element))))
    if len(pairs) == 1 and pairs[0][0] not in KEYS:
        return _pair(*pairs[0], number, reader)  # - pool/image: 800G
    return _fields(where, pairs, reader)


def _pair(key: str, value: t.Any, number: int, reader: type[_Data] | type[_Node]) -> Raw:
    pairs = reader.items(value)
    if pairs is None:
        return Raw(reader.where(value, number), {"volume": key, "size": reader.scalar(value)})
    return _fields(reader.where(value, number), [("volume", None), *pairs], reader, volume=key)


def _fields(where: str, pairs: t.Sequence[tuple[str, t.Any]], reader: type[_Data] | type[_Node], volume: str | None = None) -> Raw:
    names = [key for key, _value in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return Raw(where, {}, f"{', '.join(twice)} is given twice")
    fields = {key: reader.scalar(value) for key, value in pairs if value is not None}
    return Raw(where, fields if volume is None else {"volume": volume, **fields})


def told(bad: t.Sequence[tuple[str, str]], count: int) -> str:
    """One error for all bad lines: (where, what is wrong)."""
    return f"{len(bad)} of {count} volume(s) in the list cannot be used, so nothing was touched. " + " | ".join(f"{where}: {text}" for where, text in bad)
