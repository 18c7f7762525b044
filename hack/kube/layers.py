"""Layers of images, each made once and kept by a hash of what decides it; knows pip and apt, and no image.

Python comes from Debian packages, because there is no registry to take a base from.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hack.kube import oci
from hack.prune_image import prune

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("python3", "base-files", "netbase", "ca-certificates", "libstdc++6")
_SECONDS = 900


class Layers:
    """Layers of images, made once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = ""
        folder.mkdir(parents=True, exist_ok=True)

    def debian(self) -> Path:
        """Python and what it needs, without any other program: not even a shell."""
        closure = _closure(self._folder)
        self._python = next(version for name, version in closure if name == "python3").rpartition(".")[0]
        self._root = self._folder / f"root-{_key(closure)}"
        return self._made("debian", closure, lambda root: _unpack(self._folder, root))

    def packages(self, requirements: Sequence[str]) -> Path:
        """A virtual environment with these packages, in the versions the project is tested with."""
        facts = (self._python, sorted(requirements), (_ROOT / "constraints-dev.txt").read_text())
        return self._made("packages", facts, lambda root: self._install(root, requirements))

    def project(self, work: Path) -> Path:
        """The project from its wheel; made each time."""
        _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work), str(_ROOT)])
        root = work / "project"
        (wheel,) = work.glob("*.whl")
        self._install(root, [str(wheel)], "--no-deps")
        program = root / "opt/venv/bin/mcp-sidecar"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/opt/venv/bin/python\nfrom mcp_sidecar.cli import main\n\nraise SystemExit(main())\n")
        program.chmod(0o755)
        (root / "opt/venv/bin/python").symlink_to("/usr/bin/python3")
        (root / "opt/venv/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
        layer = work / "project.tar"
        oci.write_layer(layer, root)
        return layer

    def _install(self, root: Path, requirements: Sequence[str], *more: str) -> None:
        site = root / f"opt/venv/lib/python{self._python}/site-packages"
        into = [
            "--target",
            str(site),
            "--python-version",
            self._python,
            "--implementation",
            "cp",
            "--only-binary",
            ":all:",
        ]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore", "--no-compile"]
        constraints = ["-c", str(_ROOT / "constraints-dev.txt")]
        _run([sys.executable, "-m", "pip", "install", *quiet, *into, *constraints, *more, *requirements])
        prune(site)
        shutil.rmtree(site / "bin", ignore_errors=True)  # scripts that would run with this machine's Python
        self._compile(root)

    def _compile(self, root: Path) -> None:
        """As in the Dockerfile: on a read-only root every start would compile again. The image's own Python does it."""
        inside = 'mount --bind "$1/opt" "$2/opt" && exec chroot "$2" /usr/bin/python3 -m compileall -q -j 1 '
        inside += "--invalidation-mode unchecked-hash /opt/venv/lib"
        _run(["unshare", "--mount", "sh", "-c", inside, "sh", str(root), str(self._unpacked())])

    def _unpacked(self) -> Path:
        """The Debian layer as a directory, for programs of the image to run in."""
        return _once(self._root, lambda root: _unpack(self._folder, root))

    def _made(self, name: str, facts: object, make: Callable[[Path], None]) -> Path:
        """The layer in the cache, made when it is not there."""

        def archive(unfinished: Path) -> None:
            with tempfile.TemporaryDirectory(dir=self._folder) as work:
                make(Path(work))
                oci.write_layer(unfinished, Path(work))

        return _once(self._folder / f"{name}-{_key(facts)}.tar", archive)


def _once(place: Path, make: Callable[[Path], None]) -> Path:
    """The file or directory, made under another name by one process at a time when it is not there."""
    if place.exists():
        return place
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            unfinished = place.with_name(f"unfinished-{place.name}")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(place)
    return place


def _key(facts: object) -> str:
    made_by = [Path(__file__).read_text(), inspect.getsource(prune)]
    return hashlib.sha256(f"{facts!r}\n{made_by}".encode()).hexdigest()[:16]


# ---- Debian packages ----


def _apt(folder: Path) -> list[str]:
    """Options that show apt a machine where nothing is installed, so that it names every package that is needed."""
    (folder / "debs" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "debs" / "status").touch()
    options = {
        "Dir::State::status": folder / "debs" / "status",
        "Dir::Cache::archives": folder / "debs",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    return ["apt-get", "-qq", "--no-install-recommends", *(f"-o{name}={value}" for name, value in options.items())]


def _closure(folder: Path) -> list[tuple[str, str]]:
    """Names and versions of all packages."""
    said = _install(folder, "--simulate")
    return re.findall(r"^Inst (\S+) \((\S+) ", said, re.MULTILINE)


def _install(folder: Path, *options: str) -> str:
    """What apt says. The lists of a machine may be missing, or name versions that are gone: then they are renewed."""
    command = [*_apt(folder), *options, "install", *_PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS, env=os.environ)
    if done.returncode == 0:
        return done.stdout
    _run(["apt-get", "-qq", "update"])
    return _run(command)


def _unpack(folder: Path, root: Path) -> None:
    """All packages, without running their scripts, in the arrangement that these would have left."""
    _install(folder, "--download-only", "-y")
    root.mkdir(exist_ok=True)
    for name, version in _closure(folder):
        (package,) = (folder / "debs").glob(f"{name}_{version.replace(':', '%3a')}_*.deb")
        _run(["dpkg-deb", "-x", str(package), str(root)])
    for unused in ("doc", "man", "locale", "info", "lintian"):
        shutil.rmtree(root / "usr/share" / unused, ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        _merge_into_usr(root, name)
    for name in ("proc", "sys", "dev", "tmp", "run", "opt"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/false\nnobody:x:65532:65532:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnobody:x:65532:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("".join(each.read_text() for each in certificates))


def _merge_into_usr(root: Path, name: str) -> None:
    if (root / name).is_dir() and not (root / name).is_symlink():
        _run(["cp", "-a", f"{root}/{name}/.", f"{root}/usr/{name}/"]) if (root / "usr" / name).is_dir() else None
        if not (root / "usr" / name).exists():
            (root / name).rename(root / "usr" / name)
        else:
            shutil.rmtree(root / name)
    if not (root / name).exists() and (root / "usr" / name).exists():
        (root / name).symlink_to(f"usr/{name}")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS, env=os.environ)
    if done.returncode:
        sys.exit(f"image: {' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout
