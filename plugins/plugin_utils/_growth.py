# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Which volumes are meant, what stands in the way, and which hosts have what to do."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human, parse_image_size

from ._growth_layers import hand_out_disks, hand_out_filesystems, hand_out_layers, problems_of
from ._growth_stages import canaries, merged, no_work, stages
from ._lease import lease_blocker, lease_line
from ._plain import as_list
from ._verdict import critical_of, goal_at, goal_of, hop_bytes, judge, lagging, row_of, unproven
from ._volumes import HOPS, LEFT_OUT


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
    return ", ".join(f"{volume['volume']} ({volume['uuid'] or 'not exported'})" for volume in volumes) or "none"


def resolve(volumes: t.Sequence[dict[str, t.Any]], wanted: t.Any, silent: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
    """The volumes that the handles in ``wanted`` (a list, or text with commas) mean; without any handle the only volume there is.

    ``silent`` (text) tells who did not answer: their volumes are not among those that can be found. Raises :class:`GrowthError` for a handle that
    means none or more than one, and for no handle among several volumes.
    """
    unheard = f"; not heard: {' | '.join(silent)}" if silent else ""
    managed = [volume for volume in volumes if not volume.get("orphan")]
    handles = as_list(wanted)
    if not handles:
        if len(managed) == 1:
            return managed
        if not managed:
            raise GrowthError(
                "no target of the inventory exports an RBD image, so there is no volume to grow; deploy one with nvmeof.spdk.deploy_target" + unheard
            )
        raise GrowthError(f"the inventory has {len(managed)} volumes; say which with -e volume=... : {_known(managed)}")
    chosen: list[dict[str, t.Any]] = []
    for handle in handles:
        found = [volume for volume in managed if handle in handles_of(volume) or handle.lower() in volume["uuids"]]
        if not found:
            raise GrowthError(f"volume {handle!r} was not found; the inventory has: {_known(managed)}{unheard}")
        if len(found) > 1:
            raise GrowthError(f"volume {handle!r} is ambiguous; write the image, the UUID or host:device of one of: {_known(found)}")
        if found[0] not in chosen:
            chosen.append(found[0])
    return chosen


def _silent_targets(volume: t.Mapping[str, t.Any]) -> list[str]:
    return [reading["host"] for reading in volume["readings"]["bdev"] if reading["bytes"] is None]


def _leads_to_silence(volume: t.Mapping[str, t.Any], path: t.Mapping[str, t.Any]) -> bool:
    """Whether a path may lead to a target that nobody could ask: one is silent, and the others do not listen at the path's address."""
    portals = {portal for reading in volume["readings"]["namespace"] for portal in reading.get("portals") or []}
    return bool(_silent_targets(volume)) and path["portal"] not in portals


def blockers_of(volume: t.Mapping[str, t.Any], wanted: int, exact: bool, allow_degraded: bool, grow_layers: bool = False) -> list[dict[str, str]]:
    """What forbids to touch this volume, each with ``hop``, ``object``, ``problem``, ``remedy``."""

    def blocker(hop: str, obj: str, problem: str, remedy: str) -> dict[str, str]:
        return {"hop": hop, "object": obj, "problem": problem, "remedy": remedy, "severity": "blocker"}

    found = list(critical_of(volume))
    found += problems_of(volume, goal_of(volume, wanted) or wanted, grow_layers)
    image = hop_bytes(volume, "image")
    if image is None:
        errors = "; ".join(f"{reading['host']}: {reading['error']}" for reading in volume["readings"]["image"]) or "no host was asked"
        found.append(
            blocker(
                "image",
                volume["volume"],
                f"nobody can read the image's true size ({errors})",
                "give the target or a host of the group ceph_clients python3-rbd (or the rbd tool) and a keyring; without the size nothing is resized",
            )
        )
    elif exact and image > wanted:
        found.append(
            blocker(
                "image", volume["volume"], f"the image has {human(image)}, more than the exact {human(wanted)}", "capacity only grows; ask for the larger size"
            )
        )
    left_out = {reading["host"]: hop for hop in ("bdev", "device", "disk") for reading in volume["readings"][hop] if reading["error"] == LEFT_OUT}
    if left_out:
        names = ", ".join(sorted(left_out))
        problem = f"{LEFT_OUT}: {names}; the volume is on them, or nobody knows that it is not"
        found.append(blocker(HOPS[min(map(HOPS.index, left_out.values()))], names, problem, "run it without --limit; what grows is chosen with volume=..."))
    for reading in volume["readings"]["bdev"]:
        if reading["bytes"] is None and reading["error"] != LEFT_OUT and not allow_degraded:
            remedy = "bring the target back; every target must show the new size before a host may see it (allow_degraded goes on without it)"
            found.append(blocker("bdev", f"{reading['host']}:{reading['object']}", f"target {reading['host']} cannot be read: {reading['error']}", remedy))
    for reading in volume["readings"]["path"]:
        label = f"{reading['host']}:{reading['object']}"
        if reading["state"] != "live" and not allow_degraded:
            found.append(blocker("path", label, f"the path is {reading['state']}", "restore the path, or disconnect it if it is gone for good"))
        elif reading["state"] == "live" and _leads_to_silence(volume, reading):
            silent = ", ".join(_silent_targets(volume))
            remedy = f"make {silent} answer, or stop it, so that hosts leave it: with a living path of the old size the device would fall back to that size"
            found.append(blocker("path", label, f"the path is live, and no target that answers listens there; {silent} cannot be read", remedy))
    return found


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
    skip_blocked: bool = False,
    lease_owner: str = "",
    lease_wait: int = 0,
    grow_layers: bool = False,
    grow_filesystem: bool = False,
    canary: t.Any = "",
) -> dict[str, t.Any]:
    """The growth of the volumes meant by ``handles`` to ``size`` (text such as 800G).

    A lease that another run than ``lease_owner`` holds on an image that is to grow blocks, if it lasts longer than ``lease_wait`` seconds.

    Returns ``wanted_bytes``, ``volumes`` (rows of the truth table, each with ``steps`` and ``blockers``), ``blocked`` (whether nothing may be touched: any
    volume is blocked, or with ``skip_blocked`` all are, or one is critical), ``needed`` (whether there is work), ``lines`` (text for people) and, by host,
    what to pass to the modules: ``images``, ``targets``, ``initiators``, ``layers`` (with ``grow_layers``), ``hypervisors``, ``filesystems`` (with
    ``grow_filesystem``, also of volumes without a step); ``stages`` has the same for the volumes that ``canary`` (a number, or handles) sends ahead, and for
    the rest. Hosts get every object of a volume that has any step, because
    the modules compare again and a hop may have moved since. Raises :class:`GrowthError` and ``CapacityError``.
    """
    wanted = parse_image_size(size)
    chosen = resolve(volumes, handles, silent)
    rows: list[dict[str, t.Any]] = []
    work_of = {}
    notes: list[str] = []
    for volume in chosen:
        goal = goal_of(volume, wanted) or wanted
        row, work = row_of(volume, wanted), no_work()
        row["steps"] = _steps_for(volume, goal)
        row["blockers"] = blockers_of(volume, wanted, exact, allow_degraded, grow_layers)
        row["gaps"] = [f"{hop} {reading['host']}:{reading['object']}: {reading['error'] or 'not read'}" for hop, reading in unproven(volume)]
        row["lease"] = None
        if any(step["hop"] in ("image", "bdev") for step in row["steps"]):
            held = lease_blocker(volume, lease_owner, lease_wait)
            row["blockers"] += [held] if held else []
            row["lease"] = None if held else lease_line(volume, lease_owner)
        if row["blockers"]:
            row["verdict"] = "blocked: " + row["blockers"][0]["problem"]
            if row["blockers"][0]["severity"] == "critical":
                row["verdict"] = "critical: " + row["blockers"][0]["problem"]
        elif row["steps"]:
            _hand_out(work, volume, goal, grow_layers)
        if grow_filesystem and not row["blockers"]:
            told = hand_out_filesystems(work["filesystems"], volume)
            notes += [f"  {told}"] if told else []
        if any(work.values()):
            work_of[row["volume"]] = work
        rows.append(row)
    whole = merged(work_of.values())
    return {
        "wanted_bytes": wanted,
        "volumes": rows,
        "chosen": [row["volume"] for row in rows],
        "blocked": _stops(rows, skip_blocked),
        "allow_degraded": allow_degraded,
        "needed": bool(whole["filesystems"]) or any(row["steps"] and not row["blockers"] for row in rows),
        "lines": plan_lines(rows, wanted) + notes + [f"  not heard: {text}" for text in silent],
        "stages": stages(work_of, canaries(list(work_of), (as_list(canary) or [""])[0], _canaries_named(chosen, canary))),
        **whole,
    }


def _canaries_named(chosen: t.Sequence[dict[str, t.Any]], canary: t.Any) -> list[str]:
    """The volumes that ``canary`` names, where it is no number; they must be among those that grow."""
    handles = as_list(canary)
    if not handles or all(str(handle).strip().isdigit() for handle in handles):
        return []
    return [volume["volume"] for volume in resolve(chosen, handles)]


def _stops(rows: t.Sequence[t.Mapping[str, t.Any]], skip_blocked: bool) -> bool:
    blocked = [row for row in rows if row["blockers"]]
    if not skip_blocked:
        return bool(blocked)
    # what is critical has a cause that may reach further than one volume
    return len(blocked) == len(rows) or any(item["severity"] == "critical" for row in blocked for item in row["blockers"])


def _hand_out(work: dict[str, dict[str, list[dict[str, t.Any]]]], volume: t.Mapping[str, t.Any], goal: int, grow_layers: bool) -> None:
    size = f"{goal}B"
    readings = volume["readings"]
    targets = {reading["host"] for reading in readings["bdev"]}
    readers = [reading["host"] for reading in readings["image"] if reading["bytes"] is not None]
    # A target that can reach Ceph grows its own image; otherwise the first Ceph client does, and the targets follow.
    if readers and not targets & set(readers):
        work["images"].setdefault(readers[0], []).append(
            {"pool": volume["pool"], "rados_namespace": volume["rados_namespace"] or "", "image": volume["image"], "size": size}
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


def plan_lines(rows: t.Sequence[t.Mapping[str, t.Any]], wanted: int) -> list[str]:
    """The plan in words: a line per volume, a line per step, blocker and gap."""
    lines = []
    for row in rows:
        state = "blocked" if row["blockers"] else f"{len(row['steps'])} step(s)" if row["steps"] else "nothing to do"
        image = row["bytes"]["image"]
        if not row["blockers"] and not row["steps"] and image is not None and image > wanted:
            state = f"satisfied: already larger ({human(image)})"
        lines.append(f"{row['volume']} ({row['uuid'] or 'not exported'}) -> {human(wanted)}: {state}")
        lines += [
            f"  {step['hop']:<6} {step['host']}:{step['object']}: {human(step['from_bytes'])} -> {human(step['to_bytes'])} "
            f"({step['from_bytes']} -> {step['to_bytes']} bytes)"
            for step in row["steps"]
        ]
        lines += [f"  BLOCKED at {item['hop']} {item['object']}: {item['problem']}. Next step: {item['remedy']}" for item in row["blockers"]]
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


def outcome(
    volumes: t.Sequence[dict[str, t.Any]], planned: t.Mapping[str, t.Any], guest_required: bool = False, only: t.Sequence[str] | None = None
) -> dict[str, t.Any]:
    """What became of a plan, from volumes that were measured again.

    ``volumes``: rows with the verdict and, as ``before``, the bytes per hop before, and in ``degraded`` what was left behind; ``failed``: those that are not as
    wanted. A guest without an agent leaves its volume ``unproven at guest``; that fails the run only if ``guest_required``. A target or path that is
    down leaves it ``unproven``, too; that fails the run unless the plan was made with ``allow_degraded``. A volume that was left out because it is blocked
    has failed. ``only``: names of the volumes that are judged, None for all of the plan.
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
            row = {**row_of(volume, planned["wanted_bytes"], before["verdict"]), "reasons": told}
        else:
            row = row_of(volume, planned["wanted_bytes"])
        row["before_bytes"] = before["bytes"]
        row["degraded"] = degraded_of(volume) if degraded and volume else []
        row.pop("steps", None)
        rows.append(row)
        if row["verdict"] == "ok":
            continue
        if row["verdict"].startswith("unproven") and volume is not None and row["goal_bytes"] is not None and _forgiven(volume, degraded, guest_required):
            row["reasons"] = row["reasons"] + row["degraded"]
            continue
        failed.append(row)
    return {
        "volumes": rows,
        "failed": [f"{row['volume']}: {row['verdict']}. " + " | ".join(row["reasons"]) for row in failed],
        "summary": [
            {
                "volume": row["volume"],
                "uuid": row["uuid"],
                "verdict": row["verdict"],
                "degraded": row["degraded"],
                **{f"{hop}_bytes": row["bytes"][hop] for hop in HOPS},
            }
            for row in rows
        ],
    }


def audit(volumes: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Every volume as a row of the truth table, judged against its own image."""
    return [row_of(volume, None, judge(volume)["verdict"]) for volume in volumes]
