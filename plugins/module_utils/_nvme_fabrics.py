# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the kernel is told to connect one NVMe-oF path, keys included: one line for ``/dev/nvme-fabrics``.

This file is also the program that connects at boot: ``nvmeof_spdk_connect.py FILE`` (the role nvme_initiator installs it, and
``_nvme_discovery.py`` beside it), so that a path is connected in the same way by both. Therefore: standard library only, and nothing else of
the collection.

Keys are named by their files. What is in them goes to the kernel and nowhere else: into that line (DH-HMAC-CHAP) or, derived, into the
kernel's keyring ``.nvme`` (TLS, where tlshd finds it).
"""

from __future__ import annotations

import base64
import ctypes
import errno
import fcntl
import hashlib
import hmac
import importlib
import os
import platform
import re
import stat
import struct
import subprocess
import sys
import time
import typing as t
import uuid
import zlib

FABRICS = "/dev/nvme-fabrics"
ETC = "/etc/nvme"
#: Options of a path that the kernel takes as they are, in the order of the line.
PLAIN = ("transport", "traddr", "trsvcid", "nqn", "host_traddr", "hostnqn", "hostid")
TIMES = ("ctrl_loss_tmo", "reconnect_delay", "keep_alive_tmo", "fast_io_fail_tmo", "nr_io_queues")
#: Options that name key files.
FILES = ("dhchap_secret_file", "dhchap_ctrl_secret_file", "tls_psk_file")

#: _IOWR('N', 0x41, struct nvme_admin_cmd), 72 bytes (include/uapi/linux/nvme_ioctl.h)
ADMIN_IOCTL = 0xC0484E41
# opcode, flags, rsvd1, nsid, cdw2, cdw3, metadata, addr, metadata_len, data_len, cdw10..15, timeout_ms, result
_ADMIN = struct.Struct("=BBHIIIQQIIIIIIIIII")
_GET_LOG_PAGE = 0x02

#: Numbers of add_key and keyctl (kernel's syscall tables; libc has no functions for them).
_SYSCALLS = {"x86_64": (248, 250), "aarch64": (217, 219), "riscv64": (217, 219), "ppc64le": (269, 271), "s390x": (278, 280)}
_SETPERM, _LINK, _SEARCH, _READ = 5, 8, 10, 11
_PROCESS_KEYRING = -2
# all for whoever holds the keyring, and view, read, search for root, as tlshd is: what the kernel gives the keys that it makes itself
_KEY_PERMISSIONS = 0x3F0B0000


class FabricsError(Exception):
    """A path cannot be asked for: ``call``, ``cause`` and ``remedy`` as in the collection's errors. Holds no secret."""

    def __init__(self, message: str, call: str, cause: str, remedy: str) -> None:
        super().__init__(f"{message} ({call}: {cause}). Next step: {remedy}")
        self.message, self.call, self.cause, self.remedy = message, call, cause, remedy


# -- who connects --------------------------------------------------------------------------------------------


def identity(path: t.Mapping[str, t.Any], etc: str = ETC) -> tuple[str, str]:
    """The host NQN and host id to connect with: the path's own, else those of nvme-cli's files.

    The kernel (6.5 and newer) refuses one hostid under two hostnqns, so a hostnqn that is not the file's gets a hostid of its own:
    the UUID in it, else one computed from it.
    """
    nqn, given = path.get("hostnqn") or _text(f"{etc}/hostnqn"), path.get("hostid")
    if not nqn:
        make = "uuidgen > /etc/nvme/hostid; echo nqn.2014-08.org.nvmexpress:uuid:$(cat /etc/nvme/hostid) > /etc/nvme/hostnqn"
        raise FabricsError("this host has no NQN", f"read {etc}/hostnqn", "no such file, or nothing in it", f"set hostnqn, or run: {make}")
    own = _text(f"{etc}/hostid") if nqn == _text(f"{etc}/hostnqn") else None
    match = re.search(r":uuid:([0-9a-fA-F-]{36})$", nqn)
    return nqn, given or own or (match.group(1).lower() if match else str(uuid.uuid5(uuid.NAMESPACE_URL, nqn)))


def _text(file: str) -> str | None:
    try:
        with open(file, encoding="utf-8") as handle:
            return handle.read().strip() or None
    except OSError:
        return None


# -- keys ----------------------------------------------------------------------------------------------------


def secret(file: str, prefix: str) -> tuple[str, str, bytes]:
    """What is in a key file (``PREFIX:kind:base64 of key and its CRC-32:``): the text, the kind and the key's bytes."""
    remedy = f"let it hold one line {prefix}:..: as nvme-cli's gen-dhchap-key or gen-tls-key prints it, owned by root and with mode 0600"
    try:
        with open(file, encoding="ascii") as handle:
            if os.fstat(handle.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise FabricsError(
                    "the key file is not safe", f"read {file}", "others than its owner may use it", "chmod 0600 it, and make a new key if it was read"
                )
            text = handle.read().strip()
    except (OSError, ValueError) as exc:
        cause = (exc.strerror if isinstance(exc, OSError) else None) or "it is not text"
        raise FabricsError("the key file cannot be read", f"read {file}", cause, remedy) from None
    match = re.match(r"%s:(0[0-3]):([A-Za-z0-9+/]+=*):$" % re.escape(prefix), text)
    try:
        raw = base64.b64decode(match.group(2)) if match else b""
    except ValueError:
        raw = b""
    if not match or len(raw) not in (36, 52, 68) or struct.unpack("<I", raw[-4:])[0] != zlib.crc32(raw[:-4]):
        raise FabricsError("the key file holds no valid key", f"read {file}", "its form or its checksum is wrong", remedy)
    return text, match.group(1), raw[:-4]


def tls_psk(file: str, hostnqn: str, subnqn: str) -> tuple[str, bytes]:
    """Identity and TLS key of a configured key: HKDF-Extract and -Expand-Label twice (NVMe/TCP 1.0a 3.6.1.3; SPDK derives the same)."""
    _whole, kind, key = secret(file, "NVMeTLSkey-1")
    digest = "sha384" if len(key) == 48 else "sha256"
    if len(key) == 64 or kind == "03" or kind != "00" and kind != {"sha256": "01", "sha384": "02"}[digest]:
        raise FabricsError("the key file holds no valid key", f"read {file}", "hash and length do not match", "make one with nvme gen-tls-key")
    if kind != "00":
        key = _expand_label(digest, key, b"tls13 HostNQN", hostnqn)
    name = "NVMe0R{0} {1} {2}".format("02" if digest == "sha384" else "01", hostnqn, subnqn)
    return name, _expand_label(digest, key, b"tls13 nvme-tls-psk", name)


def _expand_label(digest: str, key: bytes, label: bytes, context: str) -> bytes:
    """As many bytes as the key has; one round is enough, for no key is longer than its hash."""
    extracted = hmac.new(bytes(hashlib.new(digest).digest_size), key, digest).digest()
    info = struct.pack(">HB", len(key), len(label)) + label + bytes([len(context)]) + context.encode()
    return hmac.new(extracted, info + b"\x01", digest).digest()[: len(key)]


def keyring(proc: str = "/proc") -> int:
    """The serial number of the kernel's NVMe keyring."""
    for line in (_text(f"{proc}/keys") or "").splitlines():
        words = line.split()
        if words[7:9] == ["keyring", ".nvme:"]:
            return int(words[0], 16)
    raise FabricsError(
        "this kernel has no NVMe keyring",
        f"read {proc}/keys",
        "no keyring .nvme",
        "use a kernel with NVMe/TCP over TLS (CONFIG_NVME_TCP_TLS, Linux 6.7 and newer)",
    )


def _syscall(number: int, *arguments: t.Any) -> int:
    """add_key (0) or keyctl (1) as the kernel has them; raises :class:`OSError`."""
    numbers = _SYSCALLS.get(platform.machine())
    if numbers is None:
        raise OSError(errno.ENOSYS, f"the number of this call is not known for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(numbers[number], *(ctypes.c_long(item) if isinstance(item, int) else item for item in arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def key_bytes(serial: int) -> bytes | None:
    """What is in a key; ``None`` when it is gone or may not be read."""
    buffer = ctypes.create_string_buffer(128)
    try:
        return buffer.raw[: _syscall(1, _READ, serial, buffer, len(buffer))]
    except OSError:
        return None


def insert(name: str, key: bytes) -> int:
    """The serial number of a TLS key in the kernel's keyring; it is put there, in the place of another of this identity, unless it is there already.

    Connected paths keep the key with which they were made.
    """
    ring = keyring()
    try:
        # only who holds the keyring may search it and set permissions of a key in it
        _syscall(1, _LINK, ring, _PROCESS_KEYRING)
        try:
            serial = _syscall(1, _SEARCH, ring, b"psk", name.encode(), 0)
        except OSError:
            serial = 0
        if not serial or key_bytes(serial) != key:
            serial = _syscall(0, b"psk", name.encode(), key, len(key), ring)
            _syscall(1, _SETPERM, serial, _KEY_PERMISSIONS)
    except OSError as exc:
        raise FabricsError("the TLS key cannot be given to the kernel", "add_key", exc.strerror or str(exc), "run as root; look at /proc/keys") from None
    return serial


# -- the line ------------------------------------------------------------------------------------------------


def words(path: t.Mapping[str, t.Any]) -> str:
    """One path as a line of the file of connections: the kernel's words, but for key files, which stand there by name.

    A discovery service has no NQN but patterns of those to connect (``nqns``): ``discover``, and its words and those of the paths to make.
    """
    if path.get("nqns") is not None:
        return "discover,nqns={0},{1}".format("|".join(path["nqns"]), words({**path, "nqns": None}))
    pairs = ["{0}={1}".format(key, path[key]) for key in (*PLAIN, *TIMES, *FILES) if path.get(key) is not None]
    return ",".join(pairs + (["tls"] if path.get("tls") else []))


def parse(line: str) -> dict[str, t.Any]:
    """A path out of such a line."""
    pairs = [part.partition("=") for part in line.strip().split(",")]
    path: dict[str, t.Any] = {key: value if sep else True for key, sep, value in pairs}
    if path.pop("discover", False):
        path["nqns"] = str(path.get("nqns", "*")).split("|")
    return path


def check_keys(path: t.Mapping[str, t.Any]) -> None:
    """Read and check the key files of a path."""
    for key in FILES:
        if path.get(key) is not None:
            secret(path[key], "NVMeTLSkey-1" if key == "tls_psk_file" else "DHHC-1")


def check_kernel(path: t.Mapping[str, t.Any], fabrics: str = FABRICS) -> None:
    """Raise when the kernel does not know an option for security: it would log the unknown word, and that is the secret."""
    wanted = [option for option, key in (("dhchap_secret", FILES[0]), ("dhchap_ctrl_secret", FILES[1]), ("tls", "tls")) if path.get(key)]
    if not wanted:
        return
    known = {word.strip().partition("=")[0] for word in (_text(fabrics) or "").split(",")}
    for option in wanted:
        if option not in known:
            feature, built = ("TLS", "NVME_TCP_TLS, 6.7") if option == "tls" else ("DH-HMAC-CHAP", "NVME_HOST_AUTH, 6.0")
            raise FabricsError(
                f"this kernel cannot do {feature}",
                f"read {fabrics}",
                f"it knows no option {option}",
                f"use a kernel built with CONFIG_{built} and newer (Debian 13's is), or leave {feature} out here and at the target",
            )


def line(path: t.Mapping[str, t.Any], etc: str = ETC) -> str:
    """The line for the kernel, with the secrets in it; the TLS key is in the kernel's keyring then. Never to be shown."""
    hostnqn, hostid = identity(path, etc)
    pairs = ["{0}={1}".format(key, value) for key, value in {**path, "hostnqn": hostnqn, "hostid": hostid}.items() if key in PLAIN and value is not None]
    pairs.sort(key=lambda pair: PLAIN.index(pair.partition("=")[0]))
    pairs += ["{0}={1}".format(key, path[key]) for key in TIMES if path.get(key) is not None]
    for key, option in (("dhchap_secret_file", "dhchap_secret"), ("dhchap_ctrl_secret_file", "dhchap_ctrl_secret")):
        if path.get(key) is not None:
            pairs.append("{0}={1}".format(option, secret(path[key], "DHHC-1")[0]))
    if path.get("tls"):
        pairs.append("tls")
    if path.get("tls_psk_file") is not None:
        name, key = tls_psk(path["tls_psk_file"], hostnqn, path["nqn"])
        pairs.append("tls_key={0}".format(insert(name, key)))
    return ",".join(pairs)


def modprobe(module: str, run: t.Callable[..., t.Any] = subprocess.run) -> str | None:
    """Load a kernel module; the cause when it cannot be loaded."""
    try:
        done = run(["modprobe", module], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    except OSError as exc:
        return f"modprobe: {exc.strerror}"
    return (done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}") if done.returncode else None


def load(transport: str, fabrics: str = FABRICS, run: t.Callable[..., t.Any] = subprocess.run) -> str | None:
    """Load a transport's kernel module unless connecting is possible already; the cause when it cannot be loaded."""
    return None if os.path.exists(fabrics) else modprobe(f"nvme-{transport}", run)


def exchange(text: str, fabrics: str = FABRICS) -> str:
    """One write to the kernel's connect file and its answer; raises :class:`OSError` with the kernel's errno."""
    handle = os.open(fabrics, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
        return os.read(handle, 4096).decode(errors="replace")
    finally:
        os.close(handle)


def admin(node: str, opcode: int, nsid: int, words10: t.Sequence[int], length: int, timeout_ms: int = 10000) -> bytes:
    """One admin command that reads ``length`` bytes, with its command dwords from 10 on. Raises :class:`OSError`, also for a status of the controller.

    After ``timeout_ms`` the kernel's transport starts error recovery on its own, as it does for a lost keep-alive.
    """
    data = ctypes.create_string_buffer(length)
    dwords = [*words10, 0, 0, 0, 0, 0, 0][:6]
    command = bytearray(_ADMIN.pack(opcode, 0, 0, nsid, 0, 0, 0, ctypes.addressof(data), 0, length, *dwords, timeout_ms, 0))
    handle = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    try:
        status = fcntl.ioctl(handle, ADMIN_IOCTL, command)
    finally:
        os.close(handle)
    if status:
        raise OSError(errno.EIO, f"NVMe status 0x{status:x}")
    return data.raw


def log_page(node: str, page: int, offset: int, length: int) -> bytes:
    """A part of a log page of a controller."""
    dwords = length // 4 - 1
    return admin(node, _GET_LOG_PAGE, 0, [page | (dwords & 0xFFFF) << 16, dwords >> 16, offset & 0xFFFFFFFF, offset >> 32], length)


class KernelLog:
    """What the kernel says of NVMe from now on. Lines that could hold a key are left out."""

    def __init__(self, file: str = "/dev/kmsg") -> None:
        self._handle: int | None = None
        try:
            self._handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._handle, 0, os.SEEK_END)
        except OSError:
            pass
        self.readable = self._handle is not None
        self._said: list[str] = []

    def lines(self) -> list[str]:
        """All lines so far, without their time."""
        while self._handle is not None:
            try:
                record = os.read(self._handle, 8192)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno == errno.EPIPE:
                    continue  # some were overwritten before they were read
                break
            if not record:
                break
            for text in record.decode(errors="replace").splitlines():
                message = text.partition(";")[2]
                noise = "DHHC-1" in message or "NVMeTLSkey" in message or "will reconnect forever" in message
                if "nvme" in message and not noise:
                    self._said.append(message)
        return list(self._said)

    def __del__(self) -> None:
        if self._handle is not None:
            os.close(self._handle)


def proven(path: t.Mapping[str, t.Any], name: str, log: KernelLog) -> bool:
    """Whether a new controller was authenticated by all the keys of its path; true also where the kernel's log cannot be read.

    A target that does not ask for DH-HMAC-CHAP is connected to without it, whatever keys the kernel has, and only its log tells (Linux 6.1, 6.12).
    """
    wanted = [word for key, word in (("dhchap_secret_file", "authenticated with"), ("dhchap_ctrl_secret_file", "controller authenticated")) if path.get(key)]
    said = log.lines()
    return not log.readable or all(any(f"{name}: qid 0: {word}" in line for line in said) for word in wanted)


# -- the program ---------------------------------------------------------------------------------------------


def made(answer: str) -> str:
    """The controller in the kernel's answer to a connect line; empty when it names none."""
    number = re.search(r"instance=([0-9]+)", answer)
    return "nvme" + number.group(1) if number else ""


def service_path(service: t.Mapping[str, t.Any], nqn: str) -> dict[str, t.Any]:
    """The path of a discovery service: without keys, as what it says is no secret, and given up soon should this program die before it is closed."""
    return {**{key: service.get(key) for key in PLAIN}, "nqn": nqn, "ctrl_loss_tmo": 10, "reconnect_delay": 2}


def _delete(name: str) -> None:
    with open(f"/sys/class/nvme/{name}/delete_controller", "w", encoding="ascii") as file:
        file.write("1")


def _discover(service: dict[str, t.Any]) -> tuple[list[dict[str, t.Any]], list[str]]:
    """The paths that a line of a discovery service stands for, and what went wrong."""
    # the role installs it beside this file under that name
    discovery = importlib.import_module("nvmeof_spdk_discovery")

    def ask(place: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        cause = load(place["transport"])
        if cause:
            raise OSError(errno.ENODEV, cause)
        name = made(exchange(line(service_path(place, discovery.NQN))))
        try:
            node = f"/dev/{name}"
            for _attempt in range(100):
                if os.path.exists(node):
                    break
                time.sleep(0.05)
            return discovery.records(lambda offset, length: log_page(node, discovery.LOG_PAGE, offset, length))
        finally:
            _delete(name)

    found, failed = discovery.walk(service, ask, (OSError, ValueError, FabricsError))
    rest = {key: value for key, value in service.items() if key != "nqns"}
    paths = [{**rest, **path} for path in discovery.chosen(found, service["nqns"])]
    return paths, [f"discovery at {place['traddr']}:{place['trsvcid']}: {getattr(exc, 'strerror', None) or exc}" for place, exc in failed]


def _connect(path: dict[str, t.Any]) -> None:
    """Connect one path, unless it is connected; raises :class:`OSError` or :class:`FabricsError`."""
    cause = load(path["transport"])
    if cause:
        raise OSError(errno.ENODEV, cause)
    check_kernel(path)
    log = KernelLog()
    try:
        name = made(exchange(line(path)))
    except OSError as exc:
        if exc.errno == errno.EALREADY:
            return
        raise
    if not proven(path, name, log):
        _delete(name)
        raise OSError(errno.EKEYREJECTED, "the target did not authenticate with DH-HMAC-CHAP; the path was taken away again")


def main(argv: list[str]) -> int:
    """Connect the paths of a file that are not connected. 1 when one could not be, so that systemd tries again."""
    complaints = []
    with open(argv[1], encoding="utf-8") as file:
        lines = [text.strip() for text in file if text.strip() and not text.startswith("#")]
    for text in lines:
        paths, failed = [parse(text)], []
        if "nqns" in paths[0]:
            paths, failed = _discover(paths[0])
        complaints += [f"{text}: {one}" for one in failed]
        for path in paths:
            try:
                _connect(path)
            except (OSError, FabricsError) as exc:
                complaints.append(f"{words(path)}: {getattr(exc, 'strerror', None) or exc}")
    sys.stderr.writelines(f"{one}\n" for one in complaints)
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
