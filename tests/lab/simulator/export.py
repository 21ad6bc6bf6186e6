# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts can reach. This one only holds the TCP ports, so that a busy port or a foreign address fails as on a real target."""

from __future__ import annotations

import abc
import socket
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .nvmf_model import Subsystem

Address = tuple[str, str, str, str]


class ExportError(Exception):
    """The data path refused."""


class Exporter(abc.ABC):
    """Interface of an exporter; every method runs in the main thread."""

    #: The content of a key file by the key's name, None when there is no such key (any more); the target sets it.
    secret: Callable[[str], "str | None"] = staticmethod(lambda name: None)

    def supports(self, trtype: str) -> bool:
        """Whether hosts can be reached by this transport."""
        return trtype == "TCP"

    @abc.abstractmethod
    def listen(self, address: Address, secure: bool = False) -> None:
        """Make the port (with TLS when `secure`), or raise `ExportError`. Called again for every subsystem that listens there."""

    @abc.abstractmethod
    def unlisten(self, address: Address) -> None:
        """The last subsystem left this port."""

    def sync(self, subsystems: "dict[str, Subsystem]") -> None:  # noqa: B027 (ports need no more)
        """Export exactly this."""

    def controllers(self, subsystem: "Subsystem") -> list[dict[str, Any]]:
        """The shape of nvmf_subsystem_get_controllers."""
        return []

    def close(self) -> None:  # noqa: B027 (what holds nothing has nothing to withdraw)
        """Withdraw everything."""


class PortsOnly(Exporter):
    """Binds the listeners' ports and hangs up on whoever connects."""

    def __init__(self, watch: Callable[[socket.socket, Callable[[], None]], None], unwatch: Callable[[socket.socket], None]) -> None:
        self._watch, self._unwatch = watch, unwatch
        self._sockets: dict[Address, socket.socket] = {}

    def listen(self, address: Address, secure: bool = False) -> None:
        if address in self._sockets:
            return
        self._sockets[address] = sock = bind_port(address)
        sock.listen(128)
        sock.setblocking(False)

        def refuse() -> None:
            try:
                sock.accept()[0].close()
            except OSError:
                pass

        self._watch(sock, refuse)

    def unlisten(self, address: Address) -> None:
        sock = self._sockets.pop(address, None)
        if sock is not None:
            self._unwatch(sock)
            sock.close()

    def close(self) -> None:
        for address in list(self._sockets):
            self.unlisten(address)


def bind_port(address: Address) -> socket.socket:
    """A bound TCP socket, or `ExportError` with the kernel's reason."""
    _trtype, adrfam, traddr, trsvcid = address
    family = socket.AF_INET6 if adrfam == "IPv6" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        socket.inet_pton(family, traddr)
        sock.bind((traddr, int(trsvcid)))
    except (OSError, OverflowError, ValueError) as error:
        sock.close()
        raise ExportError(f"listen on {traddr}:{trsvcid}: {error}") from None
    return sock
