# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Which volumes are meant, what stands in the way, and which hosts have what to do."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human, parse_image_size

from . import _growth_headroom as headroom_rules
from ._growth_blockers import blockers_of, fleet_notes, notes_of
from ._growth_evidence import attach, summary_of
from ._growth_layers import hand_out_disks, hand_out_filesystems, hand_out_layers
from ._growth_stages import canaries, merged, no_work, stages
from ._growth_wishes import told
from ._lease import lease_blocker, lease_line
from ._plain import as_list
from ._verdict import goal_at, goal_of, hop_bytes, judge, lagging, row_of, unproven
from ._volumes import HOPS

#: So many volumes are listed in an error.
MOST_TOLD = 30


class GrowthError(Exception):
    """The wish cannot be turned into a plan; the text names what was found and what to write instead."""


def handles_of(volume: t.Mapping[str, t.Any]) -> set[str]:
    """Everything an operator may call this volume: ``pool/image``, bdev, UUID, ``NQN#nsid``, the subsystem's ``SERIAL#nsid``, device,
    ``domain:disk`` (shut off or running); bdev, device and disk also with ``host:`` in front."""
    names = {volume["volume"], *volume["uuids"]}
    if volume["uuid"]:
        names.add(volume["uuid"])
    readings = volume["readings"]
    for reading in readings["bdev"]:
        if not reading.get("silent"):
            names |= {reading["object"], f"{reading['host']}:{reading['object']}"}
    for reading in readings["namespace"]:
        names.add(reading["object"])
        if reading.get("serial_number"):
            names.add(f"{reading['serial_number']}#{reading['nsid']}")
    for disk in volume.get("attached") or []:
        names |= {disk["object"], f"{disk['host']}:{disk['object']}"}
    for hop in ("device", "disk"):
        for reading in readings[hop]:
            if not reading.get("silent"):
                names |= {reading["object"], f"{reading['host']}:{reading['object']}"}
    for reading in readings["device"]:
        names |= {name for name in (reading.get("by_id"),) if name}
    return names


def _known(volumes: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    text = ", ".join(f"{volume['volume']} ({volume['uuid'] or 'not exported'})" for volume in volumes[:MOST_TOLD]) or "none"
    return text + (f" and {len(volumes) - MOST_TOLD} more (audit_volumes lists them)" if len(volumes) > MOST_TOLD else "")


class Handles:
    """The volumes by every name that they have, looked up many times."""

    def __init__(self, volumes: t.Sequence[dict[str, t.Any]], silent: t.Sequence[str] = ()) -> None:
        """``silent`` (text) tells who did not answer: their volumes are not among those that can be found."""
        self.managed = [volume for volume in volumes if not volume.get("orphan")]
        self.unheard = f"; not heard: {' | '.join(silent)}" if silent else ""
        self._by_name: dict[str, list[dict[str, t.Any]]] = {}
        self._by_uuid: dict[str, list[dict[str, t.Any]]] = {}
        for volume in self.managed:
            for name in handles_of(volume):
                self._by_name.setdefault(name, []).append(volume)
            for uuid in volume["uuids"]:
                self._by_uuid.setdefault(uuid, []).append(volume)

    def problem(self, handle: str) -> str | None:
        """What is wrong with a handle: it means none or several; None for nothing."""
        found = self._found(handle)
        if not found:
            return f"volume {handle!r} was not found"
        if len(found) > 1:
            return f"volume {handle!r} is ambiguous; write the image, the UUID or host:device of one of: {_known(found)}"
        return None

    def _found(self, handle: str) -> list[dict[str, t.Any]]:
        return self._by_name.get(handle) or self._by_uuid.get(handle.lower()) or []

    def volume(self, handle: str) -> dict[str, t.Any]:
        """The volume that a handle without a problem means."""
        return self._found(handle)[0]

    def only(self) -> dict[str, t.Any]:
        """The only volume there is; raises :class:`GrowthError` for none or several."""
        if len(self.managed) == 1:
            return self.managed[0]
        if not self.managed:
            raise GrowthError(
                "no target of the inventory exports an RBD image, so there is no volume to grow; deploy one with nvmeof.spdk.deploy_target" + self.unheard
            )
        raise GrowthError(f"the inventory has {len(self.managed)} volumes; say which with -e volume=... : {_known(self.managed)}")

    def not_found(self, text: str) -> GrowthError:
        """An error that also says what there is."""
        return GrowthError(f"{text}; the inventory has: {_known(self.managed)}{self.unheard}")


def resolve(volumes: t.Sequence[dict[str, t.Any]], wanted: t.Any, silent: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
    """The volumes that the handles in ``wanted`` (a list, or text with commas) mean; without any handle the only volume there is.

    Raises :class:`GrowthError` for handles that mean none or more than one, all of them at once, and for no handle among several volumes.
    """
    return [volume for volume, _wish in _wished(Handles(volumes, silent), [{"where": "volume", "volume": handle} for handle in as_list(wanted)])]


def _wished(known: Handles, wishes: t.Sequence[dict[str, t.Any]]) -> list[tuple[dict[str, t.Any], dict[str, t.Any]]]:
    """Each volume that is meant, once, with its wish; every wish that cannot be used is told in one :class:`GrowthError`."""
    if not wishes:
        return [(known.only(), {})]
    chosen: dict[str, tuple[dict[str, t.Any], dict[str, t.Any]]] = {}
    bad: list[tuple[str, str]] = []
    for wish in wishes:
        problem = wish.get("problem") or known.problem(wish["volume"])
        if problem:
            bad.append((wish["where"], problem))
            continue
        volume = known.volume(wish["volume"])
        _same, first = chosen.setdefault(volume["volume"], (volume, wish))
        if first.get("size_bytes") != wish.get("size_bytes") or first.get("exact") != wish.get("exact"):
            bad.append((wish["where"], f"{wish['volume']} is {volume['volume']}, which {first['where']} ({first['volume']}) wants otherwise; name it once"))
    if bad:
        text = bad[0][1] if len(bad) == 1 and bad[0][0] == "volume" else told(bad, len(wishes))
        raise known.not_found(text) if any("was not found" in problem for _where, problem in bad) else GrowthError(text)
    return list(chosen.values())


def _steps_for(volume: t.Mapping[str, t.Any], goal: int) -> list[dict[str, t.Any]]:
    steps = []
    for hop, reading in lagging(volume, goal):
        if hop == "namespace":
            continue  # a namespace is as large as its bdev; SPDK has no call of its own for it
        steps.append({"hop": hop, "host": reading["host"], "object": reading["object"], "from_bytes": reading["bytes"], "to_bytes": goal_at(reading, goal)})
    return steps


def plan(
    volumes: t.Sequence[dict[str, t.Any]],
    size: t.Any,
    handles: t.Any = None,
    exact: bool = False,
    allow_degraded: bool = False,
    silent: t.Sequence[str] = (),
    on_blocked: str = "stop",
    lease_owner: str = "",
    lease_wait: int = 0,
    grow_layers: bool = False,
    grow_filesystem: bool = False,
    canary: t.Any = "",
    wishes: t.Sequence[dict[str, t.Any]] = (),
    only: t.Container[str] | None = None,
    headroom: str = "auto",
    overcommit_ratio: t.Any = "",
) -> dict[str, t.Any]:
    """The growth of the volumes meant by ``wishes`` (of ``_growth_wishes``), or by ``handles`` to ``size`` (text such as 800G).

    ``only`` narrows them to these names. A lease that another run than ``lease_owner`` holds on an image that is to grow blocks, if it lasts longer than
    ``lease_wait`` seconds. ``headroom`` and ``overcommit_ratio``: see ``_growth_headroom.check``.

    Returns ``wanted_bytes`` (null where they differ), ``volumes`` (rows of the truth table, each with ``wanted_bytes``, ``then_bytes`` by hop, ``steps``,
    ``blockers`` and ``notes``), ``blocked`` (whether nothing may be touched: any volume is blocked, or with ``on_blocked`` ``skip`` all are), ``skipped``
    (names of the blocked volumes that others go on without), ``needed`` (whether there is work), ``pools`` (figures of those that grow), ``lines`` (text for
    people) and, by host, what to pass to the modules: ``images``, ``targets``, ``initiators``, ``layers`` (with ``grow_layers``), ``hypervisors``,
    ``filesystems`` (with ``grow_filesystem``, also of volumes without a step); ``stages`` has the same for the volumes that ``canary`` (a number, or handles)
    sends ahead, and for the rest. Hosts get every object of a volume that has any step, because the modules compare again and a hop may have moved since.
    Raises :class:`GrowthError` and ``CapacityError``.
    """
    if on_blocked not in ("stop", "skip"):
        raise GrowthError(f"on_blocked is {on_blocked!r}; it is stop (nothing is touched) or skip (the other volumes go on)")
    default = 0 if wishes else parse_image_size(size)
    listed = list(wishes) or [{"where": "volume", "volume": handle} for handle in as_list(handles)]
    chosen = [(volume, wish) for volume, wish in _wished(Handles(volumes, silent), listed) if only is None or volume["volume"] in only]
    if not chosen:
        raise GrowthError("none of the volumes named matches the selection; leave one of the two out")
    rows: list[dict[str, t.Any]] = []
    for volume, wish in chosen:
        wanted = wish.get("size_bytes") or default
        goal = goal_of(volume, wanted) or wanted
        row = row_of(volume, wanted)
        row["steps"] = _steps_for(volume, goal)
        row["blockers"] = blockers_of(volume, wanted, wish.get("exact", exact), allow_degraded, grow_layers)
        row["notes"] = notes_of(volume)
        row["gaps"] = [f"{hop} {reading['host']}:{reading['object']}: {reading['error'] or 'not read'}" for hop, reading in unproven(volume)]
        row["lease"] = None
        if any(step["hop"] in ("image", "bdev") for step in row["steps"]):
            held = lease_blocker(volume, lease_owner, lease_wait)
            row["blockers"] += [{"code": "lease", **held}] if held else []
            row["lease"] = None if held else lease_line(volume, lease_owner)
        rows.append(row)
    whole_batch = [(volume, row) for (volume, _wish), row in zip(chosen, rows)]
    # who is blocked already is told at once what the pool says to the batch with it; the others are held to what really grows
    all_room = _room(whole_batch, headroom, overcommit_ratio)
    room = all_room if on_blocked == "stop" else _room([(volume, row) for volume, row in whole_batch if not row["blockers"]], headroom, overcommit_ratio)
    work_of = {}
    notes: list[str] = room["lines"] + [f"  {text}" for text in fleet_notes([volume for volume, _wish in chosen])]
    for (volume, _wish), row in zip(chosen, rows):
        row["blockers"] += (all_room if row["blockers"] else room)["blockers"].get(row["volume"], [])
        row["then_bytes"] = _then(volume, None if row["blockers"] else row["goal_bytes"])
        work = no_work()
        if row["blockers"]:
            row["verdict"] = "blocked: " + row["blockers"][0]["problem"]
            if row["blockers"][0]["severity"] == "critical":
                row["verdict"] = "critical: " + row["blockers"][0]["problem"]
        elif row["steps"]:
            _hand_out(work, volume, row["goal_bytes"], grow_layers)
        if grow_filesystem and not row["blockers"]:
            alone = hand_out_filesystems(work["filesystems"], volume)
            notes += [f"  {alone}"] if alone else []
        if any(work.values()):
            work_of[row["volume"]] = work
    whole = merged(work_of.values())
    blocked = [row["volume"] for row in rows if row["blockers"]]
    stopped = bool(blocked) if on_blocked == "stop" else len(blocked) == len(rows)
    sizes = {row["wanted_bytes"] for row in rows}
    return {
        "wanted_bytes": sizes.pop() if len(sizes) == 1 else None,
        "volumes": rows,
        "chosen": [row["volume"] for row in rows],
        "blocked": stopped,
        "skipped": [] if stopped else blocked,
        "allow_degraded": allow_degraded,
        "needed": bool(whole["filesystems"]) or any(row["steps"] and not row["blockers"] for row in rows),
        "pools": room["pools"],
        "lines": plan_lines(rows) + notes + [f"  not heard: {text}" for text in silent],
        "stages": stages(
            work_of,
            canaries(list(work_of), (as_list(canary) or [""])[0], _canaries_named([volume for volume, _wish in chosen], canary)),
            {volume["volume"]: volume["uuids"] for volume, _wish in chosen},
        ),
        **whole,
    }


def _room(growing: t.Sequence[tuple[dict[str, t.Any], dict[str, t.Any]]], headroom: str, overcommit_ratio: t.Any) -> dict[str, t.Any]:
    """What the pools say to the images that are to grow, as far as their sizes are known."""
    growths = [(volume, max(0, row["goal_bytes"] - row["bytes"]["image"])) for volume, row in growing if row["bytes"]["image"] is not None]
    try:
        return headroom_rules.check(growths, headroom, overcommit_ratio)
    except headroom_rules.HeadroomError as error:
        raise GrowthError(str(error)) from error


def _then(volume: t.Mapping[str, t.Any], goal: int | None) -> dict[str, int | None]:
    """The bytes of every hop after the growth, the smallest of its readings; without a goal those that it has."""
    then: dict[str, int | None] = {}
    for hop in HOPS:
        now = [reading["bytes"] for reading in volume["readings"][hop]]
        after = [max(size, goal_at(reading, goal)) for size, reading in zip(now, volume["readings"][hop]) if size is not None] if goal is not None else []
        then[hop] = min(after) if after and None not in now else hop_bytes(volume, hop)
    return then


def _canaries_named(chosen: t.Sequence[dict[str, t.Any]], canary: t.Any) -> list[str]:
    """The volumes that ``canary`` names, where it is no number; they must be among those that grow."""
    handles = as_list(canary)
    if not handles or all(str(handle).strip().isdigit() for handle in handles):
        return []
    return [volume["volume"] for volume in resolve(chosen, handles)]


def _hand_out(work: dict[str, dict[str, list[dict[str, t.Any]]]], volume: t.Mapping[str, t.Any], goal: int, grow_layers: bool) -> None:
    size = f"{goal}B"
    readings = volume["readings"]
    targets = {reading["host"] for reading in readings["bdev"]}
    readers = [reading["host"] for reading in readings["image"] if reading["bytes"] is not None]
    # A target that can reach Ceph grows its own image; otherwise the first Ceph client does, and the targets follow.
    if readers and not targets & set(readers):
        work["images"].setdefault(readers[0], []).append(
            {"pool": volume["pool"], "rados_namespace": volume["rados_namespace"] or "", "image": volume["image"], "state": "grown", "size": size}
        )
    for reading in readings["bdev"]:
        if not reading.get("silent"):
            bdev = {"name": reading["object"], "state": "grown", "size": size}
            if reading["host"] not in readers:
                bdev["image_size"] = size  # what the client that grows it reads back before any target is asked to follow
            work["targets"].setdefault(reading["host"], []).append(bdev)
    for reading in readings["device"]:
        if not reading.get("silent"):
            work["initiators"].setdefault(reading["host"], []).append({"uuid": volume["uuid"], "size": size})
    if grow_layers:
        hand_out_layers(work["layers"], volume, goal)
    for host in sorted({reading["host"] for reading in readings["disk"] if not reading.get("silent")}):
        work["hypervisors"].setdefault(host, []).extend(hand_out_disks(volume, host, goal))


def plan_lines(rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The plan in words: a line per volume, a line per step, blocker, note and gap."""
    lines = []
    for row in rows:
        state = "blocked" if row["blockers"] else f"{len(row['steps'])} step(s)" if row["steps"] else "nothing to do"
        image, wanted = row["bytes"]["image"], row["wanted_bytes"]
        if not row["blockers"] and not row["steps"] and image is not None and image > wanted:
            state = f"satisfied: already larger ({human(image)})"
        lines.append(f"{row['volume']} ({row['uuid'] or 'not exported'}) -> {human(wanted)}: {state}")
        lines += [
            f"  {step['hop']:<6} {step['host']}:{step['object']}: {human(step['from_bytes'])} -> {human(step['to_bytes'])} "
            f"({step['from_bytes']} -> {step['to_bytes']} bytes)"
            for step in row["steps"]
        ]
        lines += [f"  BLOCKED ({item['code']}) at {item['hop']} {item['object']}: {item['problem']}. Next step: {item['remedy']}" for item in row["blockers"]]
        lines += [f"  note ({item['code']}): {item['hop']} {item['object']}: {item['problem']}" for item in row["notes"]]
        lines += [f"  {row['lease']}"] if row.get("lease") else []
        lines += [f"  unproven: {gap}" for gap in row["gaps"]]
    return lines


def degraded_of(volume: t.Mapping[str, t.Any]) -> list[str]:
    """What a growth with ``allow_degraded`` left behind: targets that could not be read, and paths that are down."""
    readings = volume["readings"]
    told = [f"target {one['host']} is behind or unknown: {one['error']}" for one in readings["bdev"] if one["bytes"] is None]
    told += [f"{one['host']}: the path {one['object']} is {one['state']}" for one in readings["path"] if one["state"] != "live"]
    return [text + "; run the same growth again when it is back" for text in told]


def _forgiven(volume: t.Mapping[str, t.Any], allow_degraded: bool, guest_required: bool) -> bool:
    """Whether all that is missing from ``ok`` is what the operator agreed to: a guest without agent, and with ``allow_degraded`` what is down."""
    hops = set() if guest_required else {"guest"}
    if allow_degraded:
        hops |= {"bdev", "path"}
    return all(hop in hops and (hop != "path" or reading["state"] != "live") for hop, reading in unproven(volume))


def _wait_for_reboot(volume: t.Mapping[str, t.Any], goal: int) -> bool:
    """Whether all that is missing are guests on a bus that shows a new size after a reboot only."""
    missing = lagging(volume, goal) + unproven(volume)
    return all(hop == "guest" and (reading.get("reboot") or reading["bytes"] is None) for hop, reading in missing)


#: What :func:`outcome` reads of a planned row whose volume was measured again.
COMPARED = ("volume", "wanted_bytes", "verdict", "bytes", "blockers")


def outcome(
    volumes: t.Sequence[dict[str, t.Any]],
    planned: t.Mapping[str, t.Any],
    guest_required: bool = False,
    only: t.Container[str] | None = None,
    evidence: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """What became of a plan, from volumes that were measured again.

    ``volumes``: rows with the verdict and, as ``before``, the bytes per hop before, and in ``degraded`` what was left behind; ``failed``: those that are not as
    wanted. A guest without an agent leaves its volume ``unproven at guest``; that fails the run only if ``guest_required``. A target or path that is
    down leaves it ``unproven``, too; that fails the run unless the plan was made with ``allow_degraded``. A volume that was left out because it is blocked
    has failed. ``only``: names of the volumes that are judged, None for all of the plan. ``evidence`` (of ``_growth_evidence``): what hosts did; a volume that
    was held back is ``blocked``.
    """
    by_name = {volume["volume"]: volume for volume in volumes}
    degraded = bool(planned.get("allow_degraded"))
    rows, failed = [], []
    for before in planned["volumes"]:
        if only is not None and before["volume"] not in only:
            continue
        volume = by_name.get(before["volume"])
        if volume is None:
            row = {**before, "verdict": "unproven at bdev", "reasons": ["the volume was there at the start and cannot be found any more"]}
        elif before.get("blockers"):
            told = [f"{item['hop']} {item['object']}: {item['problem']}. Next step: {item['remedy']}" for item in before["blockers"]]
            row = {**row_of(volume, before["wanted_bytes"], before["verdict"]), "reasons": told}
        else:
            row = row_of(volume, before["wanted_bytes"])
        row["before_bytes"] = before["bytes"]
        row["blockers"] = before.get("blockers") or []
        attach(row, ((evidence or {}).get("volumes") or {}).get(row["volume"]) or {})
        row["degraded"] = degraded_of(volume) if degraded and volume else []
        row.pop("steps", None)
        rows.append(row)
        if row["verdict"] == "ok":
            continue
        if row["verdict"].startswith("unproven") and volume is not None and row["goal_bytes"] is not None and _forgiven(volume, degraded, guest_required):
            row["reasons"] = row["reasons"] + row["degraded"]
            continue
        if volume is not None and not guest_required and row["verdict"] == "lagging at guest" and _wait_for_reboot(volume, row["goal_bytes"]):
            row["reasons"] = [*row["reasons"], "the capacity is there; the guest must reboot to see it, for its bus has no event for a new size"]
            continue
        failed.append(row)
    return {
        "volumes": rows,
        "failed": [f"{row['volume']}: {row['verdict']}. " + " | ".join(row["reasons"]) for row in failed],
        "summary": summary_of(rows, len(failed)),
    }


def audit(volumes: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Every volume as a row of the truth table, judged against its own image."""
    return [row_of(volume, None, judge(volume)["verdict"]) for volume in volumes]
