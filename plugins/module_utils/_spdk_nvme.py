# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Local NVMe controllers of a target, wanted against found."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import RpcError
from ansible_collections.nvmeof.spdk.plugins.module_utils._pci import PciFunction, normal_address
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut, hop_error

ATTACH, DETACH, LIST = "bdev_nvme_attach_controller", "bdev_nvme_detach_controller", "bdev_nvme_get_controllers"


@dataclass
class WantedController:
    """One controller, what was found of it, and what becomes of it."""

    name: str
    traddr: str | None
    state: str
    force: bool
    found: dict[str, t.Any] | None = None
    action: str = "none"
    change: Change | None = None
    bdevs: list[dict[str, t.Any]] = field(default_factory=list)


def wanted_controllers(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[WantedController]:
    """Checked wishes; raises :class:`HopError` before anything is asked."""
    wishes: list[WantedController] = []
    for entry in entries:
        name = entry.get("name") or ""
        if not name:
            raise HopError("a controller has no name", obj="controllers", hop="bdev", remedy="give name, such as Nvme0; its bdevs are then Nvme0n1 and so on")
        traddr = normal_address(entry["traddr"], name) if entry.get("traddr") else None
        if entry["state"] == "present" and traddr is None:
            raise HopError("a controller that is to be present has no traddr", obj=name, hop="bdev", remedy="give its PCI address, such as 0000:18:00.0")
        if any(other.name == name or (traddr and other.traddr == traddr) for other in wishes):
            raise HopError("the list names this controller or its PCI device twice", obj=name, hop="bdev", remedy="name each once")
        wishes.append(WantedController(name, traddr, entry["state"], bool(entry.get("force"))))
    return wishes


def controllers(target: Target) -> dict[str, dict[str, t.Any]]:
    """Attached controllers by name: ``trtype``, ``traddr``. From 21.10 on a name has a list of paths; a local one has exactly one."""
    try:
        raw = target.read(LIST)
    except RpcError as error:
        raise hop_error(error, target.client.path, "bdev") from error
    found = {}
    for entry in raw:
        trids = [path.get("trid") or {} for path in entry.get("ctrlrs") or []] or [entry.get("trid") or {}]
        found[entry["name"]] = {"trtype": str(trids[0].get("trtype") or "").upper(), "traddr": str(trids[0].get("traddr") or "").lower()}
    return found


def bdevs_of(name: str, bdevs: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The bdevs of a controller: NAMEnNSID, and what SPDK made of their partition tables (NAMEnNSIDpN)."""
    pattern = re.compile(re.escape(name) + r"n[0-9]+(p[0-9]+)?$")
    return [bdev for bdev in bdevs if pattern.match(bdev["name"])]


class ControllerManager:
    """One call of the module."""

    def __init__(self, target: Target, root: str = "/") -> None:
        self.target = target
        self.root = root
        self.changes = Changes()
        self.planned: list[dict[str, t.Any]] = []

    def plan(self, wishes: t.Sequence[WantedController]) -> None:
        """Read target and sysfs, decide; touches nothing."""
        there, bdevs = controllers(self.target), self.target.bdevs()
        for wish in wishes:
            wish.found = there.get(wish.name)
            wish.bdevs = bdevs_of(wish.name, bdevs) if wish.found else []
            if wish.state == "absent":
                self._plan_absent(wish)
            else:
                self._plan_present(wish, there)

    def _plan_present(self, wish: WantedController, there: dict[str, dict[str, t.Any]]) -> None:
        if wish.found is not None:
            if wish.found["traddr"] != wish.traddr:
                raise HopError(
                    f"the controller is attached to {wish.found['trtype']} {wish.found['traddr']}, not to {wish.traddr}",
                    obj=wish.name,
                    hop="bdev",
                    remedy="choose another name, or detach it first (state=absent) when nothing uses it",
                )
            return
        other = next((name for name, entry in there.items() if entry["traddr"] == wish.traddr), None)
        if other is not None:
            raise HopError(f"the PCI device {wish.traddr} is attached as {other}", obj=wish.name, hop="bdev", remedy="use that name")
        params = self._params(wish)
        self.target.check_call(ATTACH, params, wish.name, "bdev")
        function = PciFunction(wish.traddr or "", self.root)
        function.require(wish.name)
        function.refuse_used(wish.name)
        if not function.is_nvme:
            raise HopError(f"the PCI device {wish.traddr} is no NVMe controller", obj=wish.name, hop="bdev", remedy="correct the address; see lspci -D")
        function.require_user_driver(wish.name)
        wish.action = "attached"
        wish.change = self.changes.add("controller", wish.name, "attach", None, {"state": "present", "traddr": wish.traddr}, lambda: self._attach(wish))
        self.planned.append({"method": ATTACH, "params": params})

    def _plan_absent(self, wish: WantedController) -> None:
        if wish.found is None:
            return
        used = [bdev["name"] for bdev in wish.bdevs if bdev["claimed"]]
        if used and not wish.force:
            raise HopError(
                f"its bdevs {', '.join(used)} are in use as namespaces; detaching it would take the disks from connected hosts",
                obj=wish.name,
                hop="bdev",
                call=DETACH,
                remedy="remove the namespaces first (nvmeof.spdk.nvmf_subsystem), or set force",
            )
        if wish.found["trtype"] not in ("PCIE", ""):
            raise HopError(f"the controller is not a local one ({wish.found['trtype']})", obj=wish.name, hop="bdev", remedy="correct the name")
        params = {"name": wish.name}
        self.target.check_call(DETACH, params, wish.name, "bdev")
        wish.action = "detached"
        before = {"state": "present", "traddr": wish.found["traddr"], "bdevs": [bdev["name"] for bdev in wish.bdevs]}
        wish.change = self.changes.add("controller", wish.name, "detach", before, None, lambda: self._detach(wish))
        self.planned.append({"method": DETACH, "params": params})

    @staticmethod
    def _params(wish: WantedController) -> dict[str, t.Any]:
        return {"name": wish.name, "trtype": "PCIe", "traddr": wish.traddr}

    def _send(self, method: str, params: dict[str, t.Any], wish: WantedController) -> None:
        try:
            outcome = self.target.change([(method, params, wish.name)], "bdev")[0]
        except TimedOut:
            return  # what is there decides
        if isinstance(outcome, HopError):
            raise outcome

    def _attach(self, wish: WantedController) -> None:
        try:
            self._send(ATTACH, self._params(wish), wish)
        except HopError as error:
            remedy = (
                "check that the device is bound to vfio-pci or uio_pci_generic, that the target may use it (-u and -A switch PCI off), and the target's log"
            )
            raise HopError(error.message, obj=wish.name, hop="bdev", call=ATTACH, cause=error.cause, remedy=remedy) from error
        if wish.name not in controllers(self.target):
            raise HopError("the target said it attached the controller, but does not list it", obj=wish.name, hop="bdev", call=ATTACH, remedy="see its log")

    def _detach(self, wish: WantedController) -> None:
        self._send(DETACH, {"name": wish.name}, wish)
        if wish.name in controllers(self.target):
            raise HopError("the target said it detached the controller, but still lists it", obj=wish.name, hop="bdev", call=DETACH, remedy="see its log")

    def results(self, wishes: t.Sequence[WantedController], check_mode: bool) -> list[dict[str, t.Any]]:
        """The controllers as they are now; what check mode would attach has bdevs of None, which only the device knows."""
        bdevs = self.target.bdevs() if self.changes.changed and not check_mode else None
        shown = []
        for wish in wishes:
            mine: list[dict[str, t.Any]] | None = wish.bdevs if bdevs is None else bdevs_of(wish.name, bdevs)
            if wish.state == "absent":
                mine = []
            elif check_mode and wish.action == "attached":
                mine = None
            shown.append(
                {
                    "name": wish.name,
                    "traddr": wish.traddr or (wish.found or {}).get("traddr"),
                    "state": wish.state,
                    "action": wish.action,
                    "changed": wish.action != "none",
                    "bdevs": None if mine is None else [{key: bdev[key] for key in ("name", "uuid", "size_bytes", "block_size", "claimed")} for bdev in mine],
                }
            )
        return shown
