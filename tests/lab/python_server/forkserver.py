# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python that has started already: forkserver.py SOCKET.

An emulated processor needs seconds to start Python and import what every Ansible module imports. This process has done so; for each program that
``client.c`` hands over (script on standard input, as Ansible's pipelining sends it) it forks, and the child is an interpreter right after its start, with the
caller's descriptors, environment and directory. Nothing of a program or of a collection is kept: every run loads its own.

Of ansible-core's own module_utils, which are more than a hundred in every module's zip, those that lie in ANSIBLE are imported beforehand. A program gets
them only if each one has the checksum of the file in the program's zip; with any other ansible-core it loads its own as well.
"""

import array
import atexit
import builtins
import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
import types
import zipimport
import zlib
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

#: What the modules of ansible-core and of this collection import from the standard library and the system.
PRELOAD = """
__future__ abc argparse ast base64 binascii codecs collections collections.abc configparser contextlib copy copyreg ctypes ctypes.util dataclasses
datetime decimal email.utils enum errno fcntl fileinput fnmatch functools getpass glob grp gzip hashlib heapq hmac html importlib.abc
importlib.machinery importlib.metadata importlib.util inspect io ipaddress itertools json json.decoder json.encoder keyword linecache locale logging
logging.handlers math mmap numbers operator os pathlib pickle pkgutil platform pwd queue random re reprlib resource runpy secrets select selectors
shlex shutil signal socket stat string struct subprocess syslog systemd systemd.journal tarfile tempfile textwrap threading time token tokenize
traceback types typing unicodedata urllib.error urllib.parse urllib.request uuid warnings weakref xml.etree.ElementTree zipfile zipimport zlib libvirt
rados rbd
"""
#: Brought by the lab (payload.py): the controller's ansible/module_utils.
ANSIBLE = Path("/usr/local/lib/lab-python/ansible/module_utils")
ANSIBLE_PRELOAD = """
_internal._ansiballz._loader _internal._ansiballz._extensions _internal._json._profiles._module_legacy_c2m
_internal._json._profiles._module_legacy_m2c basic common.file common.locale common.respawn common.text.converters facts.system.chroot
service
"""
#: cwd and environment of a program, in bytes.
MAX_HEADER = 1 << 20


def preload() -> None:
    """Import what there is of the list."""
    for name in PRELOAD.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    remember()


class Stash:
    """The imported module_utils of one ansible-core, and the finder that hands them out. They are not in sys.modules until a program imports them."""

    def __init__(self) -> None:
        self.modules: dict[str, types.ModuleType] = {}
        self.checksums: dict[str, int] = {}
        self.fitting: dict[str, bool] = {}

    def fill(self) -> None:
        """Import them from ANSIBLE, as if this were a module, and set them aside."""
        packages = ("ansible", "ansible.module_utils")
        for name, directory in zip(packages, (ANSIBLE.parent, ANSIBLE)):
            package = types.ModuleType(name)
            package.__path__, package.__file__ = [str(directory)], str(directory / "__init__.py")
            sys.modules[name] = package
        for name in ANSIBLE_PRELOAD.split():
            with contextlib.suppress(ImportError):
                importlib.import_module(f"ansible.module_utils.{name}")
        self.modules, self.checksums = {}, {}
        for name in [name for name in sys.modules if name.partition(".")[0] == "ansible"]:
            module = sys.modules.pop(name)
            file = Path(getattr(module, "__file__", None) or "")
            # not: the two packages, and names that stand for modules of the standard library
            if name not in packages and ANSIBLE in file.parents:
                self.modules[name] = module
                self.checksums[str(file.relative_to(ANSIBLE.parent.parent))] = zlib.crc32(file.read_bytes())
                for attribute in ("__spec__", "__loader__", "__path__", "__file__", "__cached__"):
                    if hasattr(module, attribute):
                        setattr(module, attribute, None)  # the program's import fills them in

    def fits(self, archive: str) -> bool:
        """Whether a program's zip has these very files, as far as it has them."""
        if archive not in self.fitting:
            files = zipimport._zip_directory_cache.get(archive, {})
            self.fitting[archive] = all(files[name][7] == crc for name, crc in self.checksums.items() if name in files)
        return self.fitting[archive]

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """What import asks first; None leaves it to the ordinary finders."""
        if name not in self.modules:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, zipimport.zipimporter) and self.fits(spec.loader.archive):
            spec.loader = StashLoader(self.modules[name], spec.loader)
            return spec
        return None


class StashLoader:
    """Hands out one module that has been executed already; everything else is asked of the zip's own loader."""

    def __init__(self, module: types.ModuleType, loader: zipimport.zipimporter) -> None:
        self.module, self.loader = module, loader

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        """The module, which importlib gives a new spec."""
        return self.module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is left to execute."""

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)


STASH = Stash()


def remember() -> None:
    """Take in the bytecode that the lab brought (see tests/lab/bytecode.py); again after SIGHUP."""
    with contextlib.suppress(AttributeError, OSError):
        zipimport.remember()
    if ANSIBLE.is_dir() and not STASH.modules:
        STASH.fill()
    gc.collect()
    gc.freeze()


def receive(connection: socket.socket) -> tuple[list[int], str, dict[str, str]]:
    """The caller's three descriptors, directory and environment."""
    descriptors = array.array("i")
    head, ancillary, _flags, _address = connection.recvmsg(4, socket.CMSG_LEN(3 * descriptors.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    (size,) = struct.unpack("=I", head)
    if len(descriptors) != 3 or size > MAX_HEADER:
        raise ValueError("not a caller of this server")
    text = b""
    while len(text) < size:
        part = connection.recv(size - len(text))
        if not part:
            raise ValueError("the caller has gone")
        text += part
    directory, *variables = text.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\0")
    return list(descriptors), directory, dict(variable.partition("=")[::2] for variable in variables)


def become(descriptors: list[int], directory: str, environment: dict[str, str]) -> None:
    """Run the program on standard input as ``python3 -`` does; does not return."""
    status = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(environment)
        with contextlib.suppress(OSError):
            os.chdir(directory)
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
        sys.argv, sys.path[0] = [""], ""
        sys.meta_path.insert(0, STASH)
        program = sys.stdin.buffer.read()
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = main
        exec(compile(program, "<stdin>", "exec"), main.__dict__)
        status = 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            status = int(end.code or 0)
        else:
            print(end.code, file=sys.stderr)
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status & 0xFF)


def main() -> None:
    """Serve until killed."""
    preload()
    path = sys.argv[1]
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(64)
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: remember())
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                if key.fileobj is listener:
                    connection = listener.accept()[0]
                    try:
                        descriptors, directory, environment = receive(connection)
                    except (OSError, ValueError, struct.error):
                        connection.close()
                        continue
                    pid = os.fork()
                    if pid == 0:
                        signal.set_wakeup_fd(-1)
                        for number in (signal.SIGCHLD, signal.SIGHUP):
                            signal.signal(number, signal.SIG_DFL)
                        for other in (listener, woken, waker, connection, *running.values()):
                            other.close()
                        selector.close()
                        become(descriptors, directory, environment)
                    for descriptor in descriptors:
                        os.close(descriptor)
                    running[pid] = connection
                else:
                    with contextlib.suppress(BlockingIOError):
                        while woken.recv(64):
                            pass
                    while running:
                        pid, status = os.waitpid(-1, os.WNOHANG)
                        if pid == 0:
                            break
                        connection = running.pop(pid, None)
                        if connection is not None:
                            with contextlib.suppress(OSError):
                                connection.sendall(struct.pack("=i", os.waitstatus_to_exitcode(status)))
                            connection.close()


if __name__ == "__main__":
    main()
