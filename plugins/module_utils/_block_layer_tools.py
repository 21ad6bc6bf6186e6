# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What sysfs does not tell of a layer, and growing one: ``dmsetup table``, ``pvs``, ``multipathd resize map``, ``cryptsetup resize``, ``pvresize``.

No program gets a passphrase or can ask for one: standard input is empty and there is no terminal. ``dmsetup table`` prints keys as zeros
unless it is asked to show them, and it is not.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import typing as t
from dataclasses import dataclass

SECTOR = 512
#: Seconds after which a program is given up; multipathd answers "timeout" by itself before that.
COMMAND_TIMEOUT = 60


class ToolError(Exception):
    """A program is missing, failed or took too long. ``call`` is its command line, ``missing`` whether it is not installed."""

    def __init__(self, call: str, cause: str, missing: bool = False) -> None:
        super().__init__(f"{call}: {cause}")
        self.call = call
        self.cause = cause
        self.missing = missing


@dataclass
class CryptTable:
    """A dm-crypt mapping: what it keeps from the device's begin (bytes), its sector size, and whether its key is in the kernel's keyring."""

    offset_bytes: int
    sector_bytes: int
    keyring: bool
    device: str


@dataclass
class PhysicalVolume:
    """An LVM physical volume. All in bytes; ``overhead_bytes`` is what it keeps for labels and metadata."""

    name: str
    vg: str
    extents_bytes: int
    extent_bytes: int
    overhead_bytes: int


def execute(argv: t.Sequence[str]) -> tuple[int, str, str]:
    """Run a program without input and without a terminal; returns its exit code, stdout and stderr."""
    # a login without a shell's profile may lack the folders of the administrator's programs
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
    environment = {**os.environ, "LC_ALL": "C", "PATH": path}
    call = " ".join(argv)
    try:
        # a session of its own has no terminal, so nothing can ask there either
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            env=environment,
            start_new_session=True,
            timeout=COMMAND_TIMEOUT,
        )
    except FileNotFoundError as error:
        raise ToolError(call, f"{argv[0]} is not installed", missing=True) from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(call, f"no end after {COMMAND_TIMEOUT} s") from error
    except OSError as error:
        raise ToolError(call, error.strerror or str(error)) from error
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


class LayerTools:
    """The programs of the layers. ``run`` and the file names are parameters so that tests can bring their own."""

    def __init__(
        self,
        run: t.Callable[[t.Sequence[str]], tuple[int, str, str]] = execute,
        crypttab: str = "/etc/crypttab",
        proc: str = "/proc",
        stat_call: t.Callable[[str], os.stat_result] = os.stat,
    ) -> None:
        self.run = run
        self.crypttab = crypttab
        self.proc = proc
        self._stat = stat_call
        self._writers: dict[int, list[str]] | None = None

    def _output(self, *argv: str) -> str:
        code, out, err = self.run(argv)
        if code:
            raise ToolError(" ".join(argv), " ".join((err or out).split()) or f"exit code {code}")
        return out

    # -- reading ---------------------------------------------------------------------------------------------

    def crypt_tables(self) -> dict[str, CryptTable]:
        """The dm-crypt mappings of this host by their names in /dev/mapper, in one call. Raises :class:`ToolError`."""
        found = {}
        for line in self._output("dmsetup", "--manglename", "none", "table", "--target", "crypt").splitlines():
            # NAME: START LENGTH crypt CIPHER KEY IV_OFFSET DEVICE OFFSET [#OPTIONAL OPTIONAL...]; a name may hold a colon
            name, _sep, rest = line.rpartition(": ")
            words = rest.split()
            if len(words) < 8 or words[2] != "crypt" or not words[7].isdigit():
                continue
            sector = next((word.partition(":")[2] for word in words[8:] if word.startswith("sector_size:")), str(SECTOR))
            found[name] = CryptTable(int(words[7]) * SECTOR, int(sector), words[4].startswith(":"), words[6])
        return found

    def physical_volumes(self, devices: t.Sequence[str]) -> dict[int, PhysicalVolume]:
        """The physical volumes on ``devices`` (paths), by device number. Raises :class:`ToolError`."""
        fields = "pv_name,vg_name,pv_size,pe_start,vg_extent_size,pv_mda_count,pv_mda_size"
        argv = ["pvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, *devices]
        code, out, err = self.run(argv)
        # one device that LVM's filter hides makes it fail, with a report of the others
        if code and '"pv_name"' not in out:
            raise ToolError(" ".join(argv), " ".join(err.split()) or f"exit code {code}")
        found = {}
        try:
            for row in json.loads(out)["report"][0]["pv"]:
                # a second metadata area is at the device's end
                tail = int(row["pv_mda_size"]) if row["pv_mda_count"] == "2" else 0
                volume = PhysicalVolume(row["pv_name"], row["vg_name"], int(row["pv_size"]), int(row["vg_extent_size"]), int(row["pe_start"]) + tail)
                number = self.number(volume.name)
                if number is not None and volume.extent_bytes > 0:
                    found[number] = volume
        except (ValueError, LookupError, TypeError) as error:
            raise ToolError("pvs", f"its report has an unknown form: {error}") from error
        return found

    def number(self, path: str) -> int | None:
        """The device number behind a path; ``None`` when it is no block device."""
        try:
            found = self._stat(path)
        except OSError:
            return None
        return found.st_rdev if stat.S_ISBLK(found.st_mode) else None

    def key_file_words(self, name: str) -> list[str] | None:
        """Options for ``cryptsetup`` that name the key file of a mapping, as /etc/crypttab has it; ``None`` when there is none to use."""
        try:
            with open(self.crypttab, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            return None
        for line in lines:
            fields = line.split()
            if len(fields) < 3 or fields[0] != name:
                continue
            options = dict(option.partition("=")[::2] for option in (fields[3].split(",") if len(fields) > 3 else []))
            if "keyscript" in options or not fields[2].startswith("/") or not os.path.isfile(fields[2]):
                return None
            words = ["--key-file", fields[2]]
            for option in ("keyfile-offset", "keyfile-size", "header"):
                if options.get(option):
                    words += ["--" + option, options[option]]
            return words
        return None

    def has_token(self, device: str) -> bool:
        """Whether a LUKS2 header has a token (TPM, FIDO2, keyring ...) that may unlock it without a passphrase."""
        try:
            return bool(json.loads(self._output("cryptsetup", "luksDump", "--dump-json-metadata", device)).get("tokens"))
        except (ToolError, ValueError, AttributeError):
            return False  # before cryptsetup 2.4, or another kind of mapping

    def users_of(self, number: int) -> list[str]:
        """Processes (``pid N (name)``) that had a block device open for writing when this was asked first. Needs root.

        What the kernel itself holds (dm) is not among them, nor who only looks (udev, multipathd).
        """
        if self._writers is None:
            self._writers = {}
            for pid in sorted((entry for entry in os.listdir(self.proc) if entry.isdigit()), key=int):
                self._note_writer(pid, self._writers)
        return self._writers.get(number, [])

    def _note_writer(self, pid: str, found: dict[int, list[str]]) -> None:
        folder = os.path.join(self.proc, pid)
        try:
            entries = os.listdir(os.path.join(folder, "fd"))
            with open(os.path.join(folder, "comm"), encoding="utf-8", errors="replace") as file:
                label = f"pid {pid} ({file.read().strip()})"
        except OSError:
            return  # it ended
        for entry in entries:
            number = self.number(os.path.join(folder, "fd", entry))
            if number is None or label in found.get(number, []):
                continue
            try:
                with open(os.path.join(folder, "fdinfo", entry), encoding="ascii", errors="replace") as file:
                    flags = next((line.split()[1] for line in file if line.startswith("flags:")), "0")
            except OSError:
                continue  # closed since
            if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                found.setdefault(number, []).append(label)

    # -- growing ---------------------------------------------------------------------------------------------

    @staticmethod
    def command(layer: t.Mapping[str, t.Any]) -> list[str]:
        """The command line that grows a layer of :func:`describe <_block_layer_growth.describe>`."""
        if layer["kind"] == "multipath":
            return ["multipathd", "resize", "map", layer["name"]]
        if layer["kind"] == "dm-crypt":
            return ["cryptsetup", "resize", *layer["unlock"], layer["name"]]
        return ["pvresize", layer["device"]]

    def grow(self, layer: t.Mapping[str, t.Any]) -> str:
        """Grow it to all that its device has, and return what the program said. Raises :class:`ToolError`."""
        return " ".join(self._output(*self.command(layer)).split())
