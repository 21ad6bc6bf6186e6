# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""An audit as one page of HTML that needs nothing else: no network, no script for reading.

Every value goes through :func:`._report_svg.el`, which escapes. The page's Content-Security-Policy names the style sheet and the
script by their hashes and forbids everything else, so that even a mistake there could run or load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from markupsafe import Markup

from ._audit import verdict_class
from ._findings import SEVERITIES
from ._lookup import hops_of
from ._report_svg import drawing, el, layer_state, state_of
from ._select import flat
from ._verdict import goal_of, layer_bytes
from ._volumes import HOPS

#: What makes the cell of a row's hop.
Cell = t.Callable[[t.Mapping[str, t.Any], str], Markup]
LEGEND = "Per hop the smallest of its readings; n/m: so many of the readings show it. The exact bytes are in each path."

#: The kinds of verdicts, the worst first.
VERDICTS = ("critical", "blocked", "lagging", "unproven", "orphan", "ok")

#: A finding links to so many volumes; one that touches more says how many.
MOST_LINKS = 6


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _embedded(text: str, what: str) -> Markup:
    """A style sheet or script as it stands; one that could end its own element is refused."""
    if "</" in text or "<!--" in text:
        raise ValueError(f"the {what} must not contain '</' or '<!--'")
    return Markup(text)


def kind_of(verdict: str) -> str:
    """The first word of a verdict: its kind."""
    return verdict_class(verdict).partition(" ")[0]


def _rank(verdict: str) -> int:
    kind = kind_of(verdict)
    return VERDICTS.index(kind) if kind in VERDICTS else len(VERDICTS)


def count_of(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _about(about: t.Mapping[str, t.Any]) -> Markup:
    entries = [(key, ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value) for key, value in about.items()]
    return el(
        "dl", {"class": "about"}, *[el("div", None, el("dt", None, key), el("dd", None, str(value))) for key, value in entries if value not in ("", None)]
    )


def _tiles(rows: t.Sequence[t.Mapping[str, t.Any]]) -> Markup:
    counts = {kind: len([row for row in rows if kind_of(row["verdict"]) == kind]) for kind in VERDICTS}
    tiles = [
        el(
            "button",
            {"type": "button", "class": f"tile {kind}", "data-verdict": kind, "aria-pressed": "false", "disabled": True},
            el("b", None, str(counts[kind])),
            " ",
            kind,
        )
        for kind in VERDICTS
        if counts[kind]
    ]
    return el("div", {"class": "tiles", "role": "group", "aria-label": "Show only volumes with this verdict"}, *tiles)


def _tools() -> Markup:
    return el(
        "div",
        {"class": "tools", "hidden": True},
        el("label", {"for": "search"}, "Search"),
        el("input", {"type": "search", "id": "search", "placeholder": "volume, UUID, host, domain, bdev, NQN …", "autocomplete": "off", "spellcheck": "false"}),
        el("output", {"id": "count", "for": "search", "aria-live": "polite"}),
        el("button", {"type": "button", "id": "open-all"}, "Open all paths"),
        el("button", {"type": "button", "id": "close-all"}, "Close all"),
    )


def _findings(found: t.Sequence[t.Mapping[str, t.Any]], places: t.Mapping[str, str]) -> Markup:
    if not found:
        return el("section", {"id": "findings"}, el("h2", None, "Findings"), el("p", None, "No findings."))
    counts = ", ".join(
        f"{len([item for item in found if item['severity'] == severity])} {severity}"
        for severity in SEVERITIES
        if any(item["severity"] == severity for item in found)
    )
    items = []
    for item in found:
        known = [name for name in item["volumes"] if name in places]
        few = known if len(known) <= MOST_LINKS else []
        search = " ".join([*(str(item[key] or "") for key in ("severity", "kind", "hop", "host", "object", "text")), *few]).lower()
        items.append(
            el(
                "li",
                {"class": f"finding {item['severity']}", "data-search": search},
                el("span", {"class": "badge"}, item["severity"]),
                el(
                    "div",
                    None,
                    el(
                        "p",
                        {"class": "what"},
                        el("b", None, item["kind"]),
                        " ",
                        el("span", {"class": "where"}, f"{item['host']} {item['object']}" if item["host"] != item["object"] else item["host"]),
                        *[el("a", {"href": "#" + places[name]}, name) for name in few],
                        el("small", None, count_of(len(known), "volume")) if len(known) > len(few) else None,
                    ),
                    el("p", None, item["text"]),
                    el("p", {"class": "remedy"}, "Next step: ", item["remedy"]),
                ),
            )
        )
    return el(
        "section",
        {"id": "findings"},
        el("h2", None, "Findings"),
        el("details", {"open": True}, el("summary", None, counts), el("ul", None, *items)),
    )


def hop_cell(row: t.Mapping[str, t.Any], hop: str, note: Markup | None = None, title: str = "") -> Markup:
    """The cell of a hop: its smallest reading, and how many of the readings show it; ``note`` stands below, ``title`` replaces what a pointer is told."""
    if hop == "layer":
        size, readings = layer_bytes(row), row.get("layers") or []
        state = "lagging" if "lagging" in {layer_state(layer, goal_of(row, None)) for layer in readings} else ""
    else:
        size, readings = row["bytes"][hop], row["readings"][hop]
        states = {state_of(hop, reading, row) for reading in readings}
        state = next((word for word in ("critical", "lagging", "unproven") if word in states), "")
    if not readings:
        return el("td", {"class": "none", "data-sort": "-1"}, "–")
    known = [reading["bytes"] for reading in readings if reading["bytes"] is not None]
    size = size if size is not None else min(known, default=None)
    count = f" {len([one for one in known if one == size])}/{len(readings)}" if len(readings) > 1 and (state or len(set(known)) > 1) else ""
    return el(
        "td",
        {"class": f"size {state}".strip(), "data-sort": -1 if size is None else size, "title": title or ("not read" if size is None else f"{size} bytes")},
        "?" if size is None else human(size),
        el("small", None, count) if count else None,
        note,
    )


def _path_table(row: t.Mapping[str, t.Any]) -> Markup:
    lines = []
    for entry in hops_of(row):
        lag = entry["bytes"] is not None and entry["goal_bytes"] is not None and entry["bytes"] < entry["goal_bytes"]
        note = "; ".join(text for text in ("lags" if lag else "", entry["detail"], entry["error"] or "") if text)
        exact = "–" if entry["bytes"] is None else str(entry["bytes"])
        lines.append(
            el(
                "tr",
                {"class": "lagging" if lag else "unproven" if entry["error"] else None},
                el("td", None, entry["hop"]),
                el("td", None, entry["name"]),
                el("td", {"class": "size"}, exact),
                el("td", {"class": "size"}, "" if entry["bytes"] is None else human(entry["bytes"])),
                el("td", None, note),
            )
        )
    head = el("thead", None, el("tr", None, *[el("th", {"scope": "col"}, word) for word in ("hop", "where", "bytes", "", "")]))
    return el("table", {"class": "readings"}, head, el("tbody", None, *lines))


def _volume(row: t.Mapping[str, t.Any], number: int, columns: t.Sequence[str], cell: Cell) -> Markup:
    known = flat(row)
    readings = [reading for hop in HOPS for reading in row["readings"][hop]]
    words = [row["volume"], row["uuid"], row["verdict"], *known["targets"], *known["hosts"], *(reading["object"] for reading in readings)]
    words += [disk["object"] for disk in row.get("attached") or []] + [layer["object"] for layer in row.get("layers") or []]
    words += [reading.get("serial_number") for reading in row["readings"]["namespace"]]
    search = " ".join(dict.fromkeys(str(word).lower() for word in words if word))
    kind = kind_of(row["verdict"])
    name = el("button", {"type": "button", "class": "name", "aria-expanded": "false", "aria-controls": f"p{number}", "disabled": True}, row["volume"])
    return el(
        "tbody",
        {"class": "volume", "id": f"v{number}", "data-verdict": kind, "data-search": search},
        el(
            "tr",
            None,
            el("th", {"scope": "row", "data-sort": row["volume"]}, name, el("small", None, row["uuid"] or "not exported")),
            *[cell(row, hop) for hop in columns],
            el(
                "td",
                {"class": "verdict", "data-sort": f"{_rank(row['verdict'])} {row['verdict']}"},
                el("span", {"class": f"badge {kind}"}, row["verdict"]),
            ),
        ),
        el(
            "tr",
            {"class": "path", "id": f"p{number}"},
            el(
                "td",
                {"colspan": len(columns) + 2},
                el(
                    "details",
                    None,
                    el("summary", None, f"Path of {row['volume']}"),
                    el("div", {"class": "drawing", "tabindex": "0"}, drawing(row)),
                    el("ul", {"class": "reasons"}, *[el("li", None, reason) for reason in row["reasons"]]) if row["reasons"] else None,
                    _path_table(row),
                ),
            ),
        ),
    )


def volumes(rows: t.Sequence[t.Mapping[str, t.Any]], cell: Cell = hop_cell, legend: str = LEGEND) -> Markup:
    """The section with the truth table; rows have the ids ``v0``, ``v1`` ... in their order. ``cell`` makes the cell of a row's hop."""
    columns = list(HOPS)
    if any(row.get("layers") for row in rows):
        columns.insert(HOPS.index("device") + 1, "layer")
    heads = [
        el(
            "th",
            {"scope": "col", "aria-sort": "none", "class": None if word in ("volume", "verdict") else "size"},
            el("button", {"type": "button", "disabled": True}, word),
        )
        for word in ("volume", *columns, "verdict")
    ]
    body = [_volume(row, number, columns, cell) for number, row in enumerate(rows)]
    table = el("table", {"id": "table"}, el("thead", None, el("tr", None, *heads)), *body)
    return el(
        "section",
        {"id": "volumes"},
        el("h2", None, "Volumes"),
        el("p", {"class": "legend"}, legend),
        table if rows else el("p", None, "No volumes."),
    )


def worst_first(rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[t.Mapping[str, t.Any]]:
    """Rows by verdict, else in the order in which they came."""
    return sorted(rows, key=lambda row: _rank(row["verdict"]))


def listed(name: str, heading: str, texts: t.Sequence[str]) -> Markup | None:
    """A section with a list of texts, None for no text."""
    return el("section", {"id": name}, el("h2", None, heading), el("ul", None, *[el("li", None, text) for text in texts])) if texts else None


def document(
    heading: str,
    title: str,
    about: t.Mapping[str, t.Any],
    rows: t.Sequence[t.Mapping[str, t.Any]],
    sections: t.Sequence[Markup | None],
    style: str,
    script: str,
) -> str:
    """The whole page around ``sections``. Raises ``ValueError`` for a style or script that cannot be embedded."""
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    head = el(
        "head",
        None,
        el("meta", {"charset": "utf-8"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("meta", {"name": "referrer", "content": "no-referrer"}),
        el("title", None, title),
        el("style", None, _embedded(style, "style sheet")),
    )
    body = el(
        "body",
        None,
        el("a", {"class": "skip", "href": "#volumes"}, "Skip to the volumes"),
        el("header", None, el("h1", None, heading), _about(about), _tiles(rows), _tools()),
        el("main", None, *sections),
        el("script", None, _embedded(script, "script")),
    )
    return str(Markup("<!DOCTYPE html>\n") + el("html", {"lang": "en"}, head, body) + Markup("\n"))


def page(report: t.Mapping[str, t.Any], style: str, script: str, about: t.Mapping[str, t.Any] | None = None) -> str:
    """The page for an audit (:func:`._audit.report`); ``style`` and ``script`` are the texts of the role's files, ``about`` what its head says.

    Raises ``ValueError`` for a style or script that cannot be embedded.
    """
    rows = worst_first(report["volumes"])
    places = {row["volume"]: f"v{number}" for number, row in enumerate(rows)}
    elsewhere = sum((report.get("findings_elsewhere") or {}).values())
    answers = report.get("paths") or []
    asked = el("section", {"id": "answer"}, el("h2", None, "What was asked for"), el("pre", {"tabindex": "0"}, "\n".join(answers))) if answers else None
    return document(
        "Volume audit",
        f"Volume audit: {count_of(len(rows), 'volume')}, {count_of(len(report['findings']), 'finding')}",
        {**(about or {}), "volumes": len(rows), "findings": len(report["findings"]), "findings about other volumes": elsewhere or None},
        rows,
        [asked, listed("silent", "Not heard", report.get("not_heard") or []), _findings(report["findings"], places), volumes(rows)],
        style,
        script,
    )
