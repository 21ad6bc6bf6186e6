# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests: libvirt domains on a hypervisor of the lab, their disk being an NVMe namespace found by its uuid."""

from __future__ import annotations

import os
import re
import shlex
import uuid as uuids

from machine import Machine

LOG = "/var/log/libvirt/qemu/{name}-console.log"
SERIAL = "/run/lab-{name}.serial"

# machine "pc": the small guest drives transitional virtio devices on the first PCI bus; the Linux guest runs there too.
# The disk is named by its namespace's uuid, never by /dev/nvmeXnY, which changes between boots.
DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{domain_uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw' cache='none' io='native' discard='unmap'/>
      <source dev='{source}'/>
      <target dev='{target}' bus='{bus}'/>
    </disk>
    <controller type='usb' model='none'/>{controllers}
    <serial type='unix'><source mode='bind' path='{serial}'/><log file='{log}' append='on'/><target port='0'/></serial>
    <console type='unix'><source mode='bind' path='{serial}'/><target type='serial' port='0'/></console>
    <memballoon model='none'/>
  </devices>
</domain>
"""
GUESTS = {
    # name -> MiB, <os> part
    "mini": (32, "<kernel>/opt/guest/mini.elf</kernel>"),
    "linux": (
        192,
        "<kernel>/opt/guest/vmlinuz</kernel><initrd>/opt/guest/initrd.img</initrd>"
        "<cmdline>console=ttyS0 quiet mitigations=off tsc=reliable random.trust_cpu=on</cmdline>",
    ),
}


class DomainError(Exception):
    """A domain cannot be made or reached."""


def xml(name: str, uuid: str, bus: str = "virtio", guest: str = "mini", source: str | None = None) -> str:
    """The domain's description. ``uuid`` is the namespace's; the domain's own is derived from its name, so that defining it twice is the same domain.

    ``source`` is another path for the disk, such as a mapping on the namespace.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise DomainError(f"{name!r} is no name for a domain: letters, digits, dot, dash and underscore")
    try:
        uuid = str(uuids.UUID(uuid))
    except ValueError:
        raise DomainError(f"{uuid!r} is no uuid of a namespace") from None
    memory, boot = GUESTS[guest]
    controllers = "\n    <controller type='scsi' index='0' model='virtio-scsi'/>" if bus == "scsi" else ""
    if guest == "linux":
        controllers += "\n    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    return DOMAIN.format(
        name=name,
        domain_uuid=uuids.uuid5(uuids.NAMESPACE_DNS, name),
        memory=memory,
        boot=boot,
        source=source or f"/dev/disk/by-id/nvme-uuid.{uuid}",
        bus=bus,
        target="sda" if bus == "scsi" else "vda",
        controllers=controllers,
        serial=SERIAL.format(name=name),
        log=LOG.format(name=name),
    )


def define(machine: Machine, name: str, uuid: str, bus: str = "virtio", guest: str = "mini", source: str | None = None) -> None:
    """Define and start a domain unless it runs. The namespace must be connected."""
    text = xml(name, uuid, bus, guest, source)
    device = f"/dev/disk/by-id/nvme-uuid.{uuids.UUID(uuid)}"
    script = f"""set -e
udevadm settle --timeout=60
[ -b {device} ] || {{ echo "no namespace {device} on this host: connect it first" >&2; exit 1; }}
cat >/run/lab-{name}.xml
virsh -q define /run/lab-{name}.xml
[ "$(virsh domstate {name})" = running ] || virsh -q start {name}
"""
    machine.run(script, timeout=120, stdin=text.encode())


def send(machine: Machine, name: str, letters: str) -> None:
    """Write letters to a guest's serial line; the mini guest takes them as commands."""
    path = SERIAL.format(name=name)
    program = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({path!r}); s.sendall({letters.encode()!r})"
    machine.run("python3 -c " + shlex.quote(program))


def console(machine: Machine, name: str, interactive: bool = False) -> None:
    """Print what a guest has printed, or hand over to its serial line (end with ^])."""
    xml(name, "0" * 32)
    command = ["virsh", "console", "--force", name] if interactive else ["cat", LOG.format(name=name)]
    argv = machine.ssh_command(*command, tty=interactive)
    os.execvp(argv[0], argv)
