# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Discovery services in the form of nvme-cli's own configuration.

Releases 1 and 2 read ``/etc/nvme/discovery.conf``, a line of options for each service. Release 3 reads ``/etc/nvme/nvme-fabrics.conf`` and the
files of ``nvme-fabrics.conf.d``, and turns an old file into new ones: there must not be both. Neither can choose subsystems by name.
"""

from __future__ import annotations

import re
import subprocess
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_files
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change

BEGIN, END = "# BEGIN nvmeof.spdk", "# END nvmeof.spdk"
_MADE = "# Made by nvmeof.spdk.nvme_connection.\n"
#: Options of a service itself, of the host, and of the paths that it leads to.
_PLACE = ("transport", "traddr", "trsvcid", "host_traddr")
_HOST = ("hostnqn", "hostid")
_TIMES = ("ctrl_loss_tmo", "reconnect_delay", "keep_alive_tmo", "nr_io_queues")

Service = t.Mapping[str, t.Any]


def installed(run: t.Callable[..., t.Any] = subprocess.run) -> int | None:
    """The major release of nvme-cli; ``None`` where it is not installed."""
    try:
        done = run(["nvme", "version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return None
    match = re.search(r"version ([0-9]+)\.", done.stdout.decode(errors="replace"))
    return int(match.group(1)) if match else None


def check(services: t.Sequence[Service]) -> None:
    """Refuse what these files cannot say."""
    for service in services:
        if list(service["nqns"]) != ["*"]:
            raise ValueError(f"nvme_cli_files: nvme-cli connects all that the service at {service['traddr']} names; leave its nqns out, or nvme_cli_files")
        for key in (*_HOST, *_TIMES):
            if service[key] != services[0][key]:
                raise ValueError(f"nvme_cli_files: nvme-cli's file has one {key} for all services; that of {service['traddr']} is another one")
        if service["dhchap_secret_file"] or service["tls"]:
            raise ValueError("nvme_cli_files: keys and tls of discovered paths are not written for nvme-cli, which takes no names of key files")


def _option(key: str) -> str:
    return key.replace("_", "-")


def lines(services: t.Sequence[Service]) -> list[str]:
    """Lines of ``discovery.conf``."""
    keys = (*_PLACE, *_HOST, *_TIMES)
    return [" ".join(f"--{_option(key)}={service[key]}" for key in keys if service[key] is not None) for service in services]


def drop_in(services: t.Sequence[Service]) -> str:
    """A file of ``nvme-fabrics.conf.d``."""
    first = services[0]
    text = _MADE
    for section, keys in (("Host", _HOST), ("I/O Controller Defaults", _TIMES)):
        given = [f"{_option(key)} = {first[key]}\n" for key in keys if first[key] is not None]
        text += f"\n[{section}]\n" + "".join(given) if given else ""
    text += "\n[Discovery Controller]\n"
    for service in services:
        text += "controller = " + ";".join(f"{_option(key)}={service[key]}" for key in _PLACE if service[key] is not None) + "\n"
    return text


def with_block(text: str, block: t.Sequence[str]) -> str:
    """A text with our lines in place of those that it had; the rest of it stays."""
    rest = re.sub(rf"^{BEGIN}\n.*?^{END}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    if not block:
        return rest
    return rest + ("" if rest.endswith("\n") or not rest else "\n") + "".join(f"{line}\n" for line in (BEGIN, *block, END))


def changes(services: t.Sequence[Service], etc: str, release: int | None) -> list[Change]:
    """What makes nvme-cli's files say the same as the task; nothing is left in the files of other releases."""
    old_file, new_file = f"{etc}/discovery.conf", f"{etc}/nvme-fabrics.conf.d/nvmeof-spdk.conf"
    new = release is not None and release >= 3
    before = _nvme_files.read(old_file) or ""
    after = with_block(before, [] if new else lines(services))
    found = [_nvme_files.change(old_file, after or None)] if after != before else []
    found.append(_nvme_files.change(new_file, drop_in(services) if new and services else None))
    return [one for one in found if one is not None]
