# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What hosts did in a growth: how each of their calls ended, which volumes go no further for it, how long each hop took.

A host remembers in ``volume_growth__acted`` its *answers* by stage: ``{"rest": {"bdev": {"state", "error", "seconds", "arrived"}}}``. ``state`` is ``ok``,
``failed`` or ``lost``; ``arrived`` are, of a call that failed, the objects that have their size all the same, with their bytes.
"""

from __future__ import annotations

import typing as t

from ._growth_stages import merged
from ._volumes import known_of, label_of

#: The hop on which each module acts, in the order of the hops.
HOPS_OF = {
    "rbd_image": "image",
    "spdk_rbd_bdev": "bdev",
    "nvme_rescan": "device",
    "nvme_layers": "layer",
    "virt_blockresize": "disk",
    "guest_filesystem": "filesystem",
}
#: The hop of each kind of work.
KIND_OF = {"image": "images", "bdev": "targets", "device": "initiators", "layer": "layers", "disk": "hypervisors", "filesystem": "filesystems"}
ORDER = tuple(KIND_OF)

#: A host that is silent leaves no reading of these hops, only of those that show them: what the other hosts say is not the whole.
SHOWN_BY = {"namespace": "bdev", "path": "device"}
#: A summary names so many volumes, and of each text so much.
MOST_NAMED = 20
MOST_TEXT = 300

Answer = dict[str, t.Any]
_REMEMBERED = "volume_growth__acted"


def _arrived(result: t.Mapping[str, t.Any]) -> dict[str, int]:
    found = {entry["name"]: entry["size_bytes"] for entry in result.get("bdevs") or [] if entry.get("satisfied")}
    for entry in result.get("images") or []:
        if entry.get("size_bytes") is not None:
            found[label_of(entry["pool"], entry["rados_namespace"], entry["image"])] = entry["size_bytes"]
    return found


def _answer(result: t.Mapping[str, t.Any]) -> Answer:
    state = "lost" if result.get("unreachable") else "failed" if result.get("failed") else "ok"
    text = str(result.get("msg") or "no reason given").strip()
    error = None if state == "ok" else text if state == "failed" else f"the host became unreachable: {text}"
    return {"state": state, "error": error, "seconds": result.get("seconds"), "arrived": {} if state == "ok" else _arrived(result)}


def answers(results: t.Mapping[str, t.Mapping[str, t.Any]], failure: t.Mapping[str, t.Any] | None = None, action: str = "") -> dict[str, Answer]:
    """The answers of one host in one stage, from what its calls returned, by hop; what was skipped is no answer.

    ``failure`` is the result that ended the host's work, ``action`` its task's; what later calls are remembered to have returned is of an earlier stage.
    """
    last = len(ORDER) - 1
    ended = HOPS_OF.get(action.rpartition(".")[2]) if failure else None
    if ended:
        last = ORDER.index(ended)
    found = {}
    for hop in ORDER[: last + 1]:
        result = failure if failure and hop == ended else results.get(hop)
        if result and not result.get("skipped"):
            found[hop] = _answer(result)
    if failure and not ended:
        # no call of a module, so the hop that would have been next
        following = [hop for hop in ORDER if hop in results and hop not in found]
        found[(following or [ORDER[-1]])[0]] = _answer({**failure, "failed": True})
    return found


def _missing(answer: Answer | None, obj: str, size: int) -> str | None:
    """Why an object is not known to have ``size`` bytes, None if it is."""
    if answer is None:
        return "the host did not come to it"
    if answer["state"] == "ok" or answer["arrived"].get(obj, -1) >= size:
        return None
    return answer["error"]


def _acted(hostvars: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any], stage: str) -> dict[str, t.Mapping[str, Answer]]:
    """The answers of every host that has work in a stage; each host is looked up once, however many volumes it has."""
    hosts = sorted({host for kind in KIND_OF.values() for host in planned.get(kind) or {}})
    return {host: (known_of(hostvars, host).get(_REMEMBERED) or {}).get(stage) or {} for host in hosts}


def _held(acted: t.Mapping[str, t.Mapping[str, Answer]], work: t.Mapping[str, t.Any], before: str) -> str | None:
    for host, images in (work.get("images") or {}).items():
        for one in images:
            label = label_of(one["pool"], one["rados_namespace"], one["image"])
            why = _missing(acted[host].get("image"), label, int(one["size"].rstrip("B")))
            if why:
                return f"image {label} on {host} does not show the new size: {why}"
    for host, bdevs in (work.get("targets") or {}).items() if before == "hosts" else ():
        for one in bdevs:
            why = _missing(acted[host].get("bdev"), one["name"], int(one["size"].rstrip("B")))
            if why:
                return f"bdev {one['name']} on target {host} does not show the new size: {why}"
    return None


def _all_held(acted: t.Mapping[str, t.Mapping[str, Answer]], planned: t.Mapping[str, t.Any], before: str) -> dict[str, str]:
    found = {volume: _held(acted, work, before) for volume, work in planned["parts"].items()}
    return {volume: why for volume, why in found.items() if why}


def barrier(hostvars: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any], stage: str, before: str = "hosts") -> dict[str, t.Any]:
    """A stage's work by kind and host without the volumes that go no further, and those in ``held`` with the reason.

    ``planned``: the stage of the plan. No target is asked to show a size that the image does not have, and ``before`` ``hosts`` no host may be shown a size
    that any of the volume's targets does not have: it would read beyond the end by that path.
    """
    held = _all_held(_acted(hostvars, planned, stage), planned, before)
    return {"held": held, **merged(work for volume, work in planned["parts"].items() if volume not in held)}


def _hosts_of(work: t.Mapping[str, t.Any]) -> list[tuple[str, str]]:
    return [(hop, host) for hop in ORDER for host in work.get(KIND_OF[hop]) or {}]


def evidence(hostvars: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What hosts did, told by volume and by host.

    ``hosts``: who failed or was lost, each with its ``stage`` and first ``hop`` and ``error``; ``lines``: the same as text; ``volumes``: by name the
    ``seconds`` of each hop (the longest call that the volume was part of), ``errors`` (the entries of ``hosts`` that carry it) and ``held`` (why it went no
    further, or None).
    """
    troubled: list[dict[str, t.Any]] = []
    found: dict[str, dict[str, t.Any]] = {}
    for stage, work in planned["stages"].items():
        acted = _acted(hostvars, work, stage)
        # nobody is held back by a stage that did not begin
        held = _all_held(acted, work, "hosts") if any(acted.values()) else {}
        bad = {}
        for host, by_hop in acted.items():
            first = next((hop for hop in ORDER if by_hop.get(hop, {}).get("state", "ok") != "ok"), None)
            if first:
                bad[host] = {"host": host, "stage": stage, "hop": first, "state": by_hop[first]["state"], "error": by_hop[first]["error"]}
        troubled += bad.values()
        for volume, part in work["parts"].items():
            seconds: dict[str, float] = {}
            for hop, host in _hosts_of(part):
                taken = acted[host].get(hop, {}).get("seconds")
                if taken is not None and (volume not in held or hop in ("image", "bdev")):
                    seconds[hop] = max(taken, seconds.get(hop, 0))
            hosts = sorted({host for _hop, host in _hosts_of(part)})
            found[volume] = {"seconds": seconds, "errors": [bad[host] for host in hosts if host in bad], "held": held.get(volume)}
    return {"hosts": troubled, "lines": [told(entry) for entry in troubled], "volumes": found}


def told(entry: t.Mapping[str, t.Any]) -> str:
    """One host that failed or was lost, as text."""
    what = "failed" if entry["state"] == "failed" else "was lost"
    return f"{entry['host']}: {what} at {entry['hop']} ({entry['stage']}): {entry['error']}"


def summary_of(rows: t.Sequence[t.Mapping[str, t.Any]], failed: int) -> dict[str, t.Any]:
    """What a workflow is told of a growth: counts, and the first volumes that are not ``ok``; bounded, however many volumes there are."""
    verdicts: dict[str, int] = {}
    for row in rows:
        kind = row["verdict"].partition(":")[0]
        verdicts[kind] = verdicts.get(kind, 0) + 1
    wrong = [
        {"volume": row["volume"], "verdict": row["verdict"][:MOST_TEXT], "degraded": [text[:MOST_TEXT] for text in row["degraded"]]}
        for row in rows
        if row["verdict"] != "ok"
    ]
    return {
        "volumes": len(rows),
        "failed": failed,
        "verdicts": dict(sorted(verdicts.items())),
        "not_ok": wrong[:MOST_NAMED],
        "not_ok_not_listed": max(0, len(wrong) - MOST_NAMED),
    }


def attach(row: dict[str, t.Any], known: t.Mapping[str, t.Any]) -> None:
    """Write into a row that was measured again (with ``before_bytes``) what became of the volume: ``changed_hops``, ``seconds``, ``errors``, ``held``."""
    before, now = row["before_bytes"], row["bytes"]
    row["changed_hops"] = [
        hop for hop, size in now.items() if size is not None and before[hop] is not None and size != before[hop] and now[SHOWN_BY.get(hop, hop)] is not None
    ]
    row["seconds"] = dict(known.get("seconds") or {})
    row["errors"] = list(known.get("errors") or [])
    row["held"] = known.get("held")
    if row["held"] and row["verdict"] != "ok" and not row["verdict"].startswith("critical"):
        row["verdict"] = "blocked: " + row["held"]
        row["reasons"] = [f"{row['held']}. No host was shown the new size. Next step: mend that, then run this again", *row["reasons"]]
