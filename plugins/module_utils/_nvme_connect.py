# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Connect to and disconnect from NVMe-oF subsystems through the kernel's own files.

Connecting is one write to ``/dev/nvme-fabrics`` (which answers ``instance=N,cntlid=M``), disconnecting one write to
``delete_controller``. nvme-cli only wraps these and its exit code proves nothing: ``nvme disconnect -d /dev/nvme0n1``
returns 0 and disconnects nothing (nvme-cli 2.3). The kernel's errno and sysfs do prove it.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_discovery, _nvme_fabrics
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_users import users

LIVE = "live"
POLL_SECONDS = 0.05
#: ANA states in which a path takes no I/O.
_NO_IO = ("inaccessible", "persistent-loss")

#: Kernel answers to the connect write: cause and remedy. Seen with Linux 6.1 against nvmet and SPDK 26.05.
_CAUSES = {
    errno.ECONNREFUSED: ("nothing listens there", "check traddr and trsvcid, and the subsystem's listeners on the target"),
    errno.EIO: ("the target refused: it has no such NQN, or does not allow this host", "check nqn, and that the subsystem allows {hostnqn}"),
    errno.EINVAL: (
        "the kernel refused: most often two targets of one NQN give out the same controller ids (cntlid)",
        "give every target of the subsystem its own min_cntlid and max_cntlid, and this host a hostid that no other hostnqn uses; dmesg has the reason",
    ),
    errno.ETIMEDOUT: ("the address does not answer", "check traddr, the network and firewalls between host and target"),
    errno.EHOSTUNREACH: ("there is no route to the address", "check traddr, host_traddr and the routes"),
    errno.ENETUNREACH: ("there is no route to the address", "check traddr, host_traddr and the routes"),
    errno.EADDRNOTAVAIL: ("host_traddr is no address of this host", "leave host_traddr out, or name an address of this host"),
    errno.ECONNRESET: ("the connection was reset while it was made", "check that the target is alive; with rdma, that this host has an RDMA device"),
    errno.ENODEV: ("no such device", "with rdma, check that this host has an RDMA device"),
    errno.EACCES: ("permission denied", "run the task as root (become)"),
    errno.EPERM: ("permission denied", "run the task as root (become)"),
    errno.ENOKEY: ("the target wants DH-HMAC-CHAP, and this host has no key for it", "set dhchap_secret_file (host {hostnqn})"),
    errno.EKEYREJECTED: ("the target rejected this host's DH-HMAC-CHAP key", "compare dhchap_secret_file with the key of {hostnqn} at the target"),
    errno.ESRCH: ("no program on this host makes TLS handshakes for the kernel", "install and start tlshd (package ktls-utils)"),
}
#: What the kernel's log adds, in the order in which it counts: a part of the line, cause and remedy. Linux 6.12.
_SAID = (
    ("controller authentication failed", "the target could not prove itself", "compare dhchap_ctrl_secret_file with the target's own key for {hostnqn}"),
    (
        "TLS handshake complete, error",
        "the TLS handshake failed: the keys differ, or the target's port has no TLS",
        "compare tls_psk_file with the psk of {hostnqn} at the target, and see that the listener is a secure channel; tlshd's journal has more",
    ),
    ("TLS handshake failed, error", "the TLS handshake failed, or was too slow", "see tlshd's journal here and at the target"),
    ("failed to start TLS", "the TLS handshake could not begin", "install and start tlshd (package ktls-utils), and give tlshd.conf: keyrings=.nvme"),
    ("authentication setup failed", "the target wants DH-HMAC-CHAP, which failed here", "set dhchap_secret_file, and use a kernel built with NVME_HOST_AUTH"),
    ("invalid service ID", "nothing listens there by RDMA", "check traddr, trsvcid and transport, and the subsystem's listeners on the target"),
    ("failed to receive icresp", "the target hung up", "if its port wants TLS, set tls and tls_psk_file; else check that it is an NVMe/TCP port"),
)


def _label(path: dict[str, t.Any]) -> str:
    """A path as the object of an error."""
    return f"{path['nqn']} at {path['transport']} {path['traddr']}:{path['trsvcid']}"


def _explain(number: int, path: dict[str, t.Any], said: list[str]) -> tuple[str, str]:
    """Cause and remedy of a refusal, from the kernel's errno and from what it logged meanwhile."""
    if number not in (errno.ENOKEY, errno.ESRCH):
        for part, cause, remedy in _SAID:
            if any(part in line for line in said):
                return cause, remedy
    if path.get("tls") and number == errno.ETIMEDOUT:
        return (
            "the address does not answer, or the TLS handshake failed",
            "check traddr and network, the psk at the target and in tls_psk_file, and tlshd's journal",
        )
    return _CAUSES.get(number, ("the kernel refused", "look into dmesg"))


class _Existing(Exception):
    """A path was there already; the text is its controller's name."""


class Connector:
    """Connects and disconnects one host; ``sysfs`` is a ``SysfsNvme``, ``identify`` an ``Identify``.

    ``run`` starts a program (for modprobe); ``clock`` and ``sleep`` count seconds.
    """

    def __init__(
        self,
        sysfs: t.Any,
        identify: t.Any,
        *,
        fabrics: str = _nvme_fabrics.FABRICS,
        kmsg: str = "/dev/kmsg",
        wait_timeout: float = 30,
        run: t.Callable[..., t.Any] = subprocess.run,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self.sysfs = sysfs
        self.identify = identify
        self.fabrics = fabrics
        self.kmsg = kmsg
        self.wait_timeout = wait_timeout
        self.run = run
        self.clock = clock
        self.sleep = sleep

    def wait(self, done: t.Callable[[], bool], seconds: float | None = None) -> bool:
        """Poll until ``done``; whether it came true within the time."""
        deadline = self.clock() + (self.wait_timeout if seconds is None else seconds)
        while not done():
            if self.clock() >= deadline:
                return False
            self.sleep(POLL_SECONDS)
        return True

    # -- connect ---------------------------------------------------------------------------------------------

    def identity(self, path: dict[str, t.Any]) -> tuple[str, str]:
        """The host NQN and host id to connect with."""
        return self._told(path, lambda: _nvme_fabrics.identity(path, self.sysfs.etc))

    def options(self, path: dict[str, t.Any]) -> str:
        """The line for ``/dev/nvme-fabrics``, secrets included; unset options are the kernel's defaults."""
        return self._told(path, lambda: _nvme_fabrics.line(path, self.sysfs.etc))

    def check(self, path: dict[str, t.Any]) -> None:
        """Raise for what can be known without connecting: the host's NQN, its keys, what its kernel can, its RDMA device."""
        self.identity(path)
        self._told(path, lambda: _nvme_fabrics.check_keys(path))
        if os.path.exists(self.fabrics):
            self._told(path, lambda: _nvme_fabrics.check_kernel(path, self.fabrics))
        if path["transport"] == "rdma" and not self.sysfs.rdma_devices():
            raise HopError(
                "this host has no RDMA device",
                obj=_label(path),
                hop="path",
                call=f"list {self.sysfs.root}/class/infiniband",
                remedy="load the driver of the network card, or make a soft-RoCE device: rdma link add rxe0 type rxe netdev eth0",
            )

    @staticmethod
    def _told(path: dict[str, t.Any], work: t.Callable[[], t.Any]) -> t.Any:
        """Do ``work``; its error becomes one of this path."""
        try:
            return work()
        except _nvme_fabrics.FabricsError as exc:
            raise HopError(exc.message, obj=_label(path), hop="path", call=exc.call, cause=exc.cause, remedy=exc.remedy) from None

    def load(self, path: dict[str, t.Any]) -> None:
        """Make sure that ``/dev/nvme-fabrics`` exists; nvme-cli 2.3 does not load the module either."""
        module = "nvme-" + path["transport"]
        cause = _nvme_fabrics.load(path["transport"], self.fabrics, self.run)
        if cause is None and not self.wait(lambda: os.path.exists(self.fabrics), 5):
            cause = f"{self.fabrics} did not appear"
        if cause is not None:
            raise HopError(
                f"the kernel module {module} cannot be loaded",
                obj=path["nqn"],
                hop="path",
                call=f"modprobe {module}",
                cause=cause,
                remedy="install the kernel's modules (on Debian's and Ubuntu's cloud kernels a separate package), and check that they match the running kernel",
            )

    def exchange(self, line: str) -> str:
        """One write to the kernel's connect file and its answer; raises :class:`OSError` with the kernel's errno."""
        return _nvme_fabrics.exchange(line, self.fabrics)

    def _new(self, path: dict[str, t.Any], log: _nvme_fabrics.KernelLog) -> str:
        """Write the line of a path and wait until its controller is live; its name. An error has what the kernel says."""
        label = _label(path)
        try:
            answer = self.exchange(self.options(path))
        except OSError as exc:
            if exc.errno == errno.EALREADY:
                # made by someone else since it was looked for; sysfs tells by which controller
                existing = self.find(path)
                if existing:
                    raise _Existing(str(existing[0]["name"])) from None
            said = log.lines()
            cause, remedy = _explain(exc.errno or 0, path, said)
            raise HopError(
                f"cannot connect: {cause}",
                obj=label,
                hop="path",
                call=f"write {self.fabrics}",
                cause="; ".join([f"{exc.strerror} (errno {exc.errno})", *said]),
                remedy=remedy.format(hostnqn=path.get("hostnqn") or self.sysfs.host_identity()[0]),
            ) from None
        name = _nvme_fabrics.made(answer)
        if not name:
            raise HopError(
                "the kernel did not say which controller it made", obj=label, hop="path", call=f"read {self.fabrics}", cause=answer, remedy="look into dmesg"
            )
        if not self.wait(lambda: (self.sysfs.controller(name) or {}).get("state") == LIVE):
            state = (self.sysfs.controller(name) or {}).get("state") or "gone"
            raise HopError(
                f"controller {name} is {state} after {self.wait_timeout} s, not live",
                obj=label,
                hop="path",
                call="read state",
                remedy="look into dmesg and at the target",
            )
        return name

    def connect(self, path: dict[str, t.Any]) -> str:
        """Connect one path, wait until it is live and its namespaces are there; the controller's name.

        The write itself blocks until the kernel has connected or given up, 3 s and more for a dead address.
        """
        self.load(path)
        self.check(path)
        log = _nvme_fabrics.KernelLog(self.kmsg)
        try:
            name = self._new(path, log)
        except _Existing as exc:
            return str(exc)
        self._prove(path, name, log)
        self._await_namespaces(name)
        return name

    def discover(self, service: dict[str, t.Any]) -> tuple[list[dict[str, str]], list[HopError]]:
        """The subsystems that a discovery service and those that it refers to name, and what went wrong. Each is connected to for as long as it is read."""

        def ask(place: dict[str, t.Any]) -> list[dict[str, t.Any]]:
            path = _nvme_fabrics.service_path(place, _nvme_discovery.NQN)
            self.load(path)
            name = self._new(path, _nvme_fabrics.KernelLog(self.kmsg))
            try:
                return self.identify.discovery_log(name)
            finally:
                self.disconnect(name)

        found, failed = _nvme_discovery.walk(service, ask, (HopError,))
        errors = []
        for place, exc in failed:
            if not isinstance(exc, HopError):
                obj = f"discovery at {place['transport']} {place['traddr']}:{place['trsvcid']}"
                exc = HopError(
                    "its log makes no sense", obj=obj, hop="path", call="Get Log Page 0x70", cause=str(exc), remedy="correct that target's listeners"
                )
            errors.append(exc)
        return found, errors

    def _prove(self, path: dict[str, t.Any], name: str, log: _nvme_fabrics.KernelLog) -> None:
        """Take a path away again that was not authenticated, although it has keys."""
        if _nvme_fabrics.proven(path, name, log):
            return
        said = log.lines()
        # Linux 6.1 takes the option also when it was built without; the attribute is there only when it was built with it
        able = os.path.exists(os.path.join(self.sysfs.controller_dir(name), "dhchap_secret"))
        self.disconnect(name)
        if not able:
            raise HopError(
                "this kernel cannot do DH-HMAC-CHAP; the path was taken away again",
                obj=_label(path),
                hop="path",
                call="read dhchap_secret",
                cause="the controller has no such attribute",
                remedy="use a kernel built with NVME_HOST_AUTH (Debian 13's is), or leave the key files out here and at the target",
            )
        raise HopError(
            "the target did not authenticate with DH-HMAC-CHAP; the path was taken away again",
            obj=_label(path),
            hop="path",
            call="read /dev/kmsg",
            cause="; ".join(said) or "the kernel said nothing of an authentication",
            remedy="give this host's entry at the target its keys (and let the target not allow any host), or leave the key files out here",
        )

    def insecure(self, path: dict[str, t.Any], controller: dict[str, t.Any]) -> list[str]:
        """What an existing path lacks of the security that is asked for."""
        has = self.sysfs.security(controller["name"])
        lacks = []
        for key, text in (("dhchap_secret_file", "this host was not authenticated"), ("dhchap_ctrl_secret_file", "the target was not authenticated")):
            if path.get(key) and not has[key[:-5]]:
                lacks.append(text)
        if path.get("tls") and not has["tls_key"]:
            lacks.append("it is not encrypted")
        return lacks

    def other_keys(self, path: dict[str, t.Any], controller: dict[str, t.Any]) -> list[str]:
        """Which keys of an existing path are not those of the files any more."""
        has = self.sysfs.security(controller["name"])
        found: list[str] = []
        try:
            self.check(path)
        except HopError:
            return found  # said already
        for key in ("dhchap_secret_file", "dhchap_ctrl_secret_file"):
            if path.get(key) and has[key[:-5]] not in (None, _nvme_fabrics.secret(path[key], "DHHC-1")[0]):
                found.append(f"its {key[:-5]} is another one than in {path[key]}")
        if path.get("tls_psk_file") and has["tls_key"]:
            now = _nvme_fabrics.key_bytes(int(has["tls_key"], 16))
            if now is not None and now != _nvme_fabrics.tls_psk(path["tls_psk_file"], self.identity(path)[0], path["nqn"])[1]:
                found.append(f"its TLS key is another one than in {path['tls_psk_file']}")
        return found

    def _await_namespaces(self, name: str) -> None:
        """The kernel scans after the connect has returned; wait until every namespace served is there, at most 5 s.

        What is missing after that was dropped by the kernel (ids that differ); it is reported as a problem, because
        the path itself exists.
        """
        self.wait(lambda: not self.dropped(name), min(5, self.wait_timeout))

    def dropped(self, name: str) -> list[int]:
        """The namespace ids that a controller serves but the kernel has no path of; empty when it does not say."""
        try:
            served = set(self.identify.nsids(name))
        except HopError:
            return []
        return sorted(served - {item["nsid"] for item in self.sysfs.namespaces() if name in [path["controller"] for path in item["paths"]]})

    # -- existing paths --------------------------------------------------------------------------------------

    def find(self, path: dict[str, t.Any], controllers: list[dict[str, t.Any]] | None = None) -> list[dict[str, t.Any]]:
        """The controllers of a path (without ``traddr``: of the whole subsystem; with ``controller``: that one), in any state but the dying ones.

        ``host_traddr`` is compared only when it is given; addresses are compared by meaning, not as text.
        """
        found = []
        for item in self.sysfs.controllers() if controllers is None else controllers:
            if item["nqn"] != path["nqn"] or item["transport"] == "pcie" or (item["state"] or "").startswith("deleting"):
                continue
            if path.get("controller") is not None:
                if item["name"] != path["controller"]:
                    continue
            elif path.get("traddr") is not None:
                if item["transport"] != path["transport"] or not self.sysfs.same_address(item["traddr"], path["traddr"]) or item["trsvcid"] != path["trsvcid"]:
                    continue
                if path.get("host_traddr") is not None and not self.sysfs.same_address(item["host_traddr"], path["host_traddr"]):
                    continue
            found.append(item)
        return found

    @staticmethod
    def drift(path: dict[str, t.Any], controller: dict[str, t.Any]) -> tuple[dict[str, int], list[dict[str, t.Any]]]:
        """What differs on an existing controller: what can be set live (in order), and what cannot (``option``, ``found``, ``wanted``)."""
        live: dict[str, int] = {}
        delay, loss = path.get("reconnect_delay"), path.get("ctrl_loss_tmo")
        if delay is not None and controller["reconnect_delay"] not in (None, delay):
            live["reconnect_delay"] = delay
        if loss is not None and controller["ctrl_loss_tmo"] is not None:
            step = delay or controller["reconnect_delay"] or 1
            # the kernel keeps a number of attempts, so it shows the time rounded up to whole delays
            shown = -1 if loss < 0 else -(-loss // step) * step
            if controller["ctrl_loss_tmo"] != shown or ("reconnect_delay" in live and loss >= 0):
                live["ctrl_loss_tmo"] = loss
        fixed: list[dict[str, t.Any]] = []

        def differs(option: str, found: t.Any) -> None:
            fixed.append({"option": option, "found": found, "wanted": path[option]})

        fail = path.get("fast_io_fail_tmo")
        if fail is not None and controller["fast_io_fail_tmo"] is None:
            differs("fast_io_fail_tmo", None)  # before Linux 5.11
        elif fail is not None and controller["fast_io_fail_tmo"] != fail:
            live["fast_io_fail_tmo"] = fail
        if path.get("keep_alive_tmo") is not None and controller["keep_alive_tmo"] not in (None, path["keep_alive_tmo"]):
            differs("keep_alive_tmo", controller["keep_alive_tmo"])
        queues = path.get("nr_io_queues")
        # fewer than asked for is the target's or the CPUs' limit
        if queues is not None and controller["queue_count"] is not None and controller["queue_count"] - 1 > queues:
            differs("nr_io_queues", controller["queue_count"] - 1)
        if path.get("hostnqn") and controller["hostnqn"] not in (None, path["hostnqn"]):
            differs("hostnqn", controller["hostnqn"])
        return live, fixed

    def adjust(self, controller: str, values: dict[str, int]) -> None:
        """Set timeouts of an existing controller and read them back (seconds; -1 endless)."""
        for key, value in values.items():
            file = os.path.join(self.sysfs.controller_dir(controller), key)
            cause = None
            try:
                with open(file, "w", encoding="ascii") as handle:
                    handle.write(str(value))
            except OSError as exc:
                cause = exc.strerror or str(exc)
            now = (self.sysfs.controller(controller) or {}).get(key)
            if cause is None and (now is None or now < value or (value < 0) != (now < 0)):
                cause = f"it still reads {now}"
            if cause is not None:
                raise HopError(
                    f"{key} cannot be set to {value}",
                    obj=controller,
                    hop="path",
                    call=f"write {file}",
                    cause=cause,
                    remedy="disconnect and connect the path again",
                )

    # -- disconnect ------------------------------------------------------------------------------------------

    def losses(self, controllers: set[str]) -> list[str]:
        """The block devices (names) that would have no live path without these controllers. A path that its target calls inaccessible carries nothing."""
        lost = []
        for namespace in self.sysfs.namespaces():
            for device in namespace["devices"]:
                paths = [path for path in namespace["paths"] if device in (path["name"], re.sub(r"c[0-9]+", "", path["name"]))]
                if any(path["controller"] in controllers for path in paths) and not any(
                    path["state"] == LIVE and path["ana_state"] not in _NO_IO and path["controller"] not in controllers for path in paths
                ):
                    lost.append(device)
        return lost

    def users(self, device: str) -> list[str]:
        """Who uses a block device or its partitions."""
        return users(self.sysfs, device)

    def check_unused(self, controllers: set[str], label: str) -> None:
        """Raise when a device in use would lose its last live path."""
        for device in self.losses(controllers):
            users = self.users(device)
            if users:
                raise HopError(
                    f"disconnecting {', '.join(sorted(controllers))} would take the last live path of /dev/{device}, which is in use: " + ", ".join(users),
                    obj=label,
                    hop="device",
                    remedy="stop what uses it (shut the domain off, unmount), or set force to lose its data in flight",
                )

    def disconnect(self, controller: str) -> None:
        """Delete one controller and see that it is gone."""
        file = os.path.join(self.sysfs.controller_dir(controller), "delete_controller")
        try:
            with open(file, "w", encoding="ascii") as handle:
                handle.write("1")
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise HopError(
                "the controller cannot be deleted", obj=controller, hop="path", call=f"write {file}", cause=exc.strerror, remedy="run the task as root (become)"
            ) from exc
        if not self.wait(lambda: self.sysfs.controller(controller) is None):
            raise HopError(
                f"the controller is still there after {self.wait_timeout} s",
                obj=controller,
                hop="path",
                call=f"write {file}",
                cause=f"state {(self.sysfs.controller(controller) or {}).get('state')}",
                remedy="look into dmesg for outstanding I/O on its devices",
            )
