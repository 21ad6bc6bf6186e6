# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of the lab's machines: a squashfs root, a kernel and an initramfs, made once and kept in the cache.

Packages come from the outer machine's own apt sources, whose files are given to mmdebstrap as they are, or as a copy with another release's name in it;
no host name is written here.

There are variants of the image, by what their kernels can: see ``VARIANTS``. Files in image/ are common to all; ``NAME-VARIANT`` adds to one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

HERE = Path(__file__).resolve().parent
PARTS = HERE / "image"
PYTHON_SERVER = HERE / "python_server"
INITRD_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "squashfs", "overlay", "ext4", "crc32c_generic")


@dataclass(frozen=True)
class Variant:
    """What an image is made of; ``release`` is a Debian release, or empty for the outer machine's."""

    kernel: str
    release: str = ""


VARIANTS = {
    # boots fastest; NVMe/TCP
    "cloud": Variant("linux-image-cloud-amd64"),
    # has soft-RoCE (rdma_rxe): NVMe/RDMA between emulated machines
    "generic": Variant("linux-image-amd64"),
    # has LUKS on the hypervisors
    "layers": Variant("linux-image-cloud-amd64"),
    # has DH-HMAC-CHAP and TLS in its NVMe host and target
    "trixie": Variant("linux-image-cloud-amd64", "trixie"),
    # has podman and apt, for the ways in which a target is installed
    "podman": Variant("linux-image-cloud-amd64"),
}


class ImageError(Exception):
    """The image cannot be made; the text says which step failed and why."""


def _words(name: str, variant: str) -> list[str]:
    """The words of a list file in image/ and of the variant's addition to it, without comments."""
    lines = [line for path in (PARTS / name, PARTS / f"{name}-{variant}") if path.exists() for line in path.read_text().splitlines()]
    return [word for line in lines if not line.startswith("#") for word in line.split()]


def _codename() -> str:
    """The outer machine's Debian release; the machines are of the same one."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise ImageError("/etc/os-release names no VERSION_CODENAME: the lab needs Debian")


def _apt_sources() -> list[str]:
    """The outer machine's apt source files."""
    more = Path("/etc/apt/sources.list.d")
    candidates = [Path("/etc/apt/sources.list"), *sorted(more.glob("*.list")), *sorted(more.glob("*.sources"))]
    found = [str(path) for path in candidates if path.is_file() and path.stat().st_size]
    if not found:
        raise ImageError("no apt source file in /etc/apt: the image's packages come from the outer machine's sources")
    return found


def _release(variant: str) -> str:
    """The Debian release of a variant."""
    return VARIANTS[variant].release or _codename()


def _sources_of(variant: str, work: Path) -> list[str]:
    """The apt source files of a variant's release: the outer machine's own, or copies in ``work`` with the release's name put in."""
    found = _apt_sources()
    own, release = _codename(), _release(variant)
    if release == own:
        return found
    work.mkdir()
    copies = []
    for path in found:
        copy = work / Path(path).name
        copy.write_text(re.sub(rf"\b{own}\b", release, Path(path).read_text()))
        copies.append(str(copy))
    return copies


def key(variant: str) -> str:
    """Names the image: the variant, and a hash of its release and of everything in image/, python_server/ and this file."""
    digest = hashlib.sha256(_release(variant).encode())
    others = tuple(f"-{name}" for name in VARIANTS if name != variant)
    parts = [path for path in PARTS.iterdir() if not path.name.endswith(others)]
    for path in [Path(__file__), *sorted(parts), *sorted(PYTHON_SERVER.iterdir())]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{variant}-{digest.hexdigest()[:16]}"


def _run(argv: list[str], log: Path, **more) -> None:
    """Run one step, its output going to the log; the last lines of it are in the error."""
    with open(log, "a") as out:
        out.write(f"+ {' '.join(argv)}\n")
        out.flush()
        done = subprocess.run(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False, **more)
    if done.returncode:
        tail = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise ImageError(f"{argv[0]} failed with exit code {done.returncode}: {tail} (whole output: {log})")


def _root(target: Path, variant: str, sources: list[str], log: Path) -> None:
    """Unpack and configure the packages. Essential packages only, no apt (but in one variant): 25 % less to unpack, and roles
    install nothing in a lab machine."""
    options = ['APT::Install-Recommends "false"', 'Acquire::Languages "none"']
    for name in ("Acquire::http::Proxy", "Acquire::https::Proxy"):
        value = subprocess.run(["apt-config", "shell", "v", name], text=True, capture_output=True, check=False).stdout.strip()
        if value.startswith("v='") and len(value) > 4:
            options.append(f'{name} "{value[3:-1]}"')
    argv = ["mmdebstrap", "--mode=root", "--variant=essential", "--include=" + ",".join(_words("packages", variant))]
    argv += [f"--aptopt={option}" for option in options]
    argv += [f"--dpkgopt=path-exclude={path}" for path in ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*")]
    argv += ["--dpkgopt=force-unsafe-io", _release(variant), str(target), *sources]
    _run(argv, log)


def _kernel(target: Path, variant: str, sources: list[str], log: Path) -> None:
    """Fetch and unpack the newest kernel of the variant (it is never installed: no initramfs tool, no boot loader)."""
    target.mkdir()
    # apt's own user may not write here; it says so and downloads as root
    options = ["-o", "APT::Sandbox::User=root"]
    if sources != _apt_sources():
        # another release than the outer machine's: package lists of their own
        lists, parts = target.parent / "apt-lists", Path(sources[0]).parent
        (lists / "partial").mkdir(parents=True)
        options += ["-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={parts}", "-o", f"Dir::State::Lists={lists}"]
        options += ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Acquire::Languages=none"]
        _run(["apt-get", "update", "-q", *options], log)
    package = VARIANTS[variant].kernel
    asked = ["apt-cache", "depends", "--no-recommends", "--no-suggests", *options, package]
    shown = subprocess.run(asked, text=True, capture_output=True, check=False).stdout
    names = [line.split()[-1] for line in shown.splitlines() if line.strip().startswith("Depends: linux-image-")]
    if not names:
        raise ImageError(f"apt knows no {package} in {_release(variant)}: run apt-get update")
    _run(["apt-get", "download", "-q", *options, names[0]], log, cwd=target)
    for deb in target.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(deb), str(target)], log)
        deb.unlink()
    if not (target / "lib").exists():
        # since Debian 13 kernels are packed for a merged /usr
        (target / "lib").symlink_to("usr/lib")


def _modules(kernel: Path, target: Path, wanted: Iterable[str], log: Path) -> None:
    """Copy kernel modules and all they depend on. A module that this kernel does not have at all is an error."""
    source = next((kernel / "lib/modules").iterdir())
    if not (source / "modules.dep").exists():
        _run(["depmod", "-b", str(kernel), source.name], log)

    def plain(path: str) -> str:
        return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")

    needs = {}
    for line in (source / "modules.dep").read_text().splitlines():
        module, _colon, others = line.partition(":")
        needs[plain(module)] = [module, *others.split()]
    builtin = {plain(line) for line in (source / "modules.builtin").read_text().splitlines()}
    files: set[str] = set()
    for name in wanted:
        name = name.replace("-", "_")
        if name in needs:
            files.update(needs[name])
        elif name not in builtin:
            raise ImageError(f"kernel {source.name} has no module {name}")
    destination = target / "lib/modules" / source.name
    for file in files:
        (destination / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".xz"):
            # busybox loads no compressed module
            (destination / file[:-3]).write_bytes(lzma.decompress((source / file).read_bytes()))
        else:
            shutil.copyfile(source / file, destination / file)
    destination.mkdir(parents=True, exist_ok=True)
    for file in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copyfile(source / file, destination / file)
    _run(["depmod", "-b", str(target), source.name], log)


def _initrd(kernel: Path, work: Path, target: Path, log: Path) -> None:
    """busybox, seven modules and image/initrd-init."""
    for name in ("bin", "dev", "proc", "sys", "lower", "disk", "root"):
        (work / name).mkdir(parents=True)
    busybox = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), None)
    if not busybox:
        raise ImageError("busybox-static is not installed: see tests/lab/requirements.apt")
    shutil.copy(busybox, work / "bin/busybox")
    (work / "bin/sh").symlink_to("busybox")
    _modules(kernel, work, INITRD_MODULES, log)
    shutil.copy(PARTS / "initrd-init", work / "init")
    _run(["sh", "-c", 'cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet | zstd -3 -q -f -o "$2"', "sh", str(work), str(target)], log)


def build(cache: Path, variant: str) -> Path:
    """The directory of a variant's image (root.squashfs, vmlinuz, initrd.img), made now if the cache has none.

    Two builders take turns; a failed build leaves nothing but its log.
    """
    cache.mkdir(parents=True, exist_ok=True)
    done = cache / f"image-{key(variant)}"
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (done / "root.squashfs").exists():
            return done
        for stale in cache.glob("building-*"):
            remove_tree(stale)
        log = cache / "image.log"
        log.unlink(missing_ok=True)
        work = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
        work.chmod(0o755)
        try:
            _build_in(work, variant, log)
            (work / "image").rename(done)
            keep_newest(cache, f"image-{variant}-")
        finally:
            remove_tree(work)
        return done


def _build_in(work: Path, variant: str, log: Path) -> None:
    """All steps of a build below one directory; kernel and packages are fetched at the same time."""
    failures: list[Exception] = []
    image = work / "image"
    image.mkdir()
    sources = _sources_of(variant, work / "sources")

    def fetch_kernel() -> None:
        try:
            _kernel(work / "kernel", variant, sources, log.with_name("kernel.log"))
        except Exception as error:  # handed to the main thread below
            failures.append(error)

    log.with_name("kernel.log").unlink(missing_ok=True)
    thread = threading.Thread(target=fetch_kernel)
    thread.start()
    try:
        _root(work / "root", variant, sources, log)
    finally:
        thread.join()
    if failures:
        raise failures[0]
    root, kernel = work / "root", work / "kernel"
    for script in (PARTS / "machine-setup", PARTS / f"machine-setup-{variant}"):
        if script.exists():
            _run(["sh", str(script), str(root)], log)
    shutil.copy(PYTHON_SERVER / "forkserver.py", root / "usr/local/lib/lab-python/forkserver.py")
    _run(["gcc", "-O2", "-Wall", "-Werror", "-o", str(root / "usr/local/bin/lab-python"), str(PYTHON_SERVER / "client.c")], log)
    for unit in _words("masked-units", variant):
        path = root / "etc/systemd/system" / unit
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/null")
    _modules(kernel, root, _words("modules", variant), log)
    _run(["mksquashfs", str(root), str(image / "root.squashfs"), "-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-quiet", "-no-progress"], log)
    _initrd(kernel, work / "initrd", image / "initrd.img", log)
    shutil.copyfile(next((kernel / "boot").glob("vmlinuz-*")), image / "vmlinuz")


def keep_newest(cache: Path, prefix: str, count: int = 2) -> None:
    """Remove all but the newest products of one kind. A lab that still runs from an older one keeps its open files."""
    found = sorted((path for path in cache.glob(prefix + "*") if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in found[:-count]:
        remove_tree(path)


def remove_tree(path: Path) -> None:
    """Remove a directory, unmounting first whatever a killed mmdebstrap left mounted below it."""
    prefix = str(path.resolve()) + "/"
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        mounted = line.split()[1].replace("\\040", " ")
        if mounted.startswith(prefix):
            subprocess.run(["umount", "-l", mounted], check=False)
    if any(line.split()[1].replace("\\040", " ").startswith(prefix) for line in Path("/proc/self/mounts").read_text().splitlines()):
        raise ImageError(f"something is still mounted below {path}: unmount it by hand")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
