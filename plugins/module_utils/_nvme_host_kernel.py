# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The kernel side of an NVMe-oF host: modules of the transports, native multipath, io policies; now and at boot.

Native multipath is a read-only parameter of ``nvme_core``, decided when that is loaded. Where ``nvme_core`` is built into the kernel (as in
Debian's cloud kernel), no file below ``/etc/modprobe.d`` reaches it, only the kernel's command line does.

The io policy is an attribute of each subsystem, and for those to come a udev rule. Not the module parameter ``iopolicy``: an older kernel
that does not know its value would not load ``nvme_core`` at all, and not find its root on NVMe.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import subprocess
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_discovery, _nvme_fabrics, _nvme_files
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_kernel import IOPOLICIES, lacks_iopolicy
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import problem
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes

MADE = "# Made by nvmeof.spdk.nvme_kernel.\n"


class HostKernel:
    """One host's kernel; ``sysfs`` is a ``SysfsNvme``. Every call reads anew; ``run`` starts a program."""

    def __init__(
        self,
        sysfs: t.Any,
        *,
        etc: str = "/etc",
        modules: str = "/lib/modules",
        release: str | None = None,
        run: t.Callable[..., t.Any] = subprocess.run,
    ) -> None:
        self.sysfs = sysfs
        self.release = os.uname().release if release is None else release
        self.run = run
        self.options_file = f"{etc}/modprobe.d/nvmeof-spdk.conf"
        self.load_file = f"{etc}/modules-load.d/nvmeof-spdk.conf"
        # after the rules for single products that nvme-cli brings (71-nvmf-*)
        self.rules_file = f"{etc}/udev/rules.d/72-nvmeof-spdk-iopolicy.rules"
        self._builtin_file = f"{modules}/{self.release}/modules.builtin"

    # -- modules ---------------------------------------------------------------------------------------------

    def builtin(self, module: str) -> bool:
        """Whether a module is a part of the kernel itself."""
        names = (os.path.basename(line)[:-3] for line in (_nvme_files.read(self._builtin_file) or "").split())
        return module.replace("-", "_") in (name.replace("-", "_") for name in names)

    def loaded(self, module: str) -> bool:
        """Whether the running kernel has a module."""
        return os.path.isdir(os.path.join(self.sysfs.root, "module", module.replace("-", "_"))) or self.builtin(module)

    def load(self, module: str) -> None:
        """Load a module and see that it is there."""
        cause = _nvme_fabrics.modprobe(module, self.run)
        if cause is None and not self.loaded(module):
            cause = "modprobe succeeded, and the kernel does not show it"
        if cause is not None:
            raise HopError(
                f"the kernel module {module} cannot be loaded",
                obj=module,
                hop="path",
                call=f"modprobe {module}",
                cause=cause,
                remedy="install the kernel's modules (on Debian's and Ubuntu's cloud kernels a separate package), and check that they match the running kernel",
            )

    def plan_modules(self, transports: t.Sequence[str], changes: Changes) -> None:
        """Load what ``transports`` need, now and at boot; nothing is unloaded."""
        wanted = ["nvme-fabrics", *(f"nvme-{transport}" for transport in sorted(set(transports)))] if transports else []
        for module in wanted:
            if not self.loaded(module):
                changes.add("module", module, "load", None, {"loaded": True}, lambda name=module: self.load(name))
        # after they could be loaded: a module that is not there would let systemd-modules-load fail at every boot
        self._plan_file(self.load_file, MADE + "".join(f"{name}\n" for name in wanted) if wanted else None, changes)

    @staticmethod
    def _plan_file(path: str, text: str | None, changes: Changes, after: t.Callable[[], None] | None = None) -> None:
        made = _nvme_files.change(path, text, after=after)
        if made is not None:
            changes.items.append(made)

    # -- native multipath ------------------------------------------------------------------------------------

    def plan_multipath(self, wanted: bool, changes: Changes) -> None:
        """Write the option for the next time that ``nvme_core`` is loaded."""
        if wanted and self.sysfs.multipath() is None and self.loaded("nvme_core"):
            raise HopError(
                f"kernel {self.release} has no native NVMe multipath",
                obj="nvme_core",
                hop="device",
                call=f"read {self.sysfs.root}/module/nvme_core/parameters/multipath",
                cause="no such parameter",
                remedy="boot a kernel built with CONFIG_NVME_MULTIPATH, or set multipath to false",
            )
        self._plan_file(self.options_file, f"{MADE}options nvme_core multipath={'Y' if wanted else 'N'}\n", changes)

    def _on_command_line(self) -> str | None:
        """What the kernel's command line says of native multipath."""
        found = re.findall(r"\bnvme[_-]core\.multipath=(\S+)", _nvme_files.read(os.path.join(self.sysfs.proc, "cmdline")) or "")
        return found[-1] if found else None

    def multipath_problems(self, wanted: bool) -> list[dict[str, str]]:
        """What keeps native multipath from being as wanted; a reboot is never forced."""
        live, said, letter = self.sysfs.multipath(), self._on_command_line(), "Y" if wanted else "N"
        contradicted = said is not None and said.upper() not in ((letter, "1") if wanted else (letter, "0"))
        if live in (None, wanted) and not contradicted:
            return []
        if contradicted:
            remedy = f"the kernel's command line says nvme_core.multipath={said}: change it there, and reboot"
        elif self.builtin("nvme_core"):
            remedy = f"nvme_core is built into this kernel, which no file reaches: add nvme_core.multipath={letter} to the kernel's command line, and reboot"
        else:
            remedy = "reboot; where the initramfs loads nvme_core, make it anew first (update-initramfs -u, or dracut -f)"
        now = "" if live is None else f"native NVMe multipath is {'on' if live else 'off'}, not {'on' if wanted else 'off'}, and "
        text = now + ("stays so until a reboot" if live not in (None, wanted) else "the kernel's command line would change it at the next boot")
        return [problem("nvme_core", "device", text, remedy, "warning")]

    # -- io policies -----------------------------------------------------------------------------------------

    def subsystems(self, patterns: t.Sequence[str]) -> list[dict[str, t.Any]]:
        """The subsystems whose NQN matches one of ``patterns``: ``name``, ``nqn``, ``iopolicy``."""
        base = os.path.join(self.sysfs.root, "class", "nvme-subsystem")
        found = []
        for name in sorted(os.listdir(base) if os.path.isdir(base) else [], key=lambda text: int(re.sub(r"[^0-9]", "", text) or 0)):
            nqn = (_nvme_files.read(os.path.join(base, name, "subsysnqn")) or "").strip()
            policy = _nvme_files.read(os.path.join(base, name, "iopolicy"))
            if nqn and nqn != _nvme_discovery.NQN and any(fnmatch.fnmatchcase(nqn, pattern) for pattern in patterns):
                found.append({"name": name, "nqn": nqn, "iopolicy": None if policy is None else policy.strip()})
        return found

    def _unknown(self, policy: str, call: str, cause: str | None = None) -> HopError:
        first = ".".join(map(str, IOPOLICIES[policy]))
        others = ", ".join(name for name in IOPOLICIES if name != policy and not lacks_iopolicy(self.release, name))
        return HopError(
            f"kernel {self.release} has no io policy {policy}; it came with Linux {first}",
            obj=policy,
            hop="device",
            call=call,
            cause=cause,
            remedy=f"boot Linux {first} or newer" + (f", or choose {others}" if others else ""),
        )

    def set_iopolicy(self, subsystem: str, policy: str) -> None:
        """Set the policy of a subsystem and read it back."""
        file = os.path.join(self.sysfs.root, "class", "nvme-subsystem", subsystem, "iopolicy")
        cause = None
        try:
            with open(file, "w", encoding="ascii") as handle:
                handle.write(policy)
        except OSError as exc:
            cause = exc.strerror or str(exc)
            if exc.errno == errno.EINVAL:
                raise self._unknown(policy, f"write {file}", cause) from exc
        now = (_nvme_files.read(file) or "").strip()
        if cause is None and now != policy:
            cause = f"it still reads {now or 'nothing'}"
        if cause is not None:
            raise HopError(
                f"the io policy cannot be set to {policy}", obj=subsystem, hop="device", call=f"write {file}", cause=cause, remedy="run as root (become)"
            )

    def plan_iopolicy(self, policy: str, patterns: t.Sequence[str], changes: Changes) -> None:
        """Set the policy of the subsystems that are there, and have udev set that of those to come."""
        if lacks_iopolicy(self.release, policy):
            raise self._unknown(policy, "uname -r")
        for item in self.subsystems(patterns):
            if item["iopolicy"] is None:
                raise HopError(
                    f"kernel {self.release} has no io policies",
                    obj=item["name"],
                    hop="device",
                    call="read iopolicy",
                    cause="no such attribute",
                    remedy="boot Linux 5.1 or newer, built with CONFIG_NVME_MULTIPATH, or leave iopolicy out",
                )
            if item["iopolicy"] != policy:
                before, after = {"iopolicy": item["iopolicy"]}, {"iopolicy": policy}
                name = item["name"]
                changes.add("subsystem", f"{name} {item['nqn']}", "update", before, after, lambda name=name: self.set_iopolicy(name, policy))
        line = 'ACTION=="add|change", SUBSYSTEM=="nvme-subsystem", ATTR{{subsysnqn}}=="{0}", ATTR{{iopolicy}}="{1}"\n'
        self._plan_file(self.rules_file, MADE + "".join(line.format(pattern, policy) for pattern in patterns), changes, self._reload_rules)

    def _reload_rules(self) -> None:
        """Let udevd read its rules now; it would by itself within seconds, which can be after the next connect."""
        try:
            self.run(["udevadm", "control", "--reload"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        except OSError:
            pass  # no udev, or none that runs
