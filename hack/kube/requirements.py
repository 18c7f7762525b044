"""What a cluster needs of the machine, said in one sentence when it is not there; starts nothing."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

from hack.kube.configs import capabilities

_HERE = Path(__file__).resolve().parent
_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
_PROGRAMS = ("openssl", "ip", "unshare", "nsenter", "mount", "chroot", "apt-get", "dpkg-deb")
_NETLINK_NETFILTER = 12
_GET_TABLES = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_REQUEST_AND_DUMP = 0x301
_ERROR = 2


def missing() -> str:
    """A sentence with everything that is not there; empty when a cluster can be built and run."""
    if sys.platform != "linux":
        return f"A Kubernetes cluster needs Linux, and this is {sys.platform}."
    lacking = [*_lacking_rights(), *_lacking_go(), *_lacking_kernel()]
    lacking += [name for name in _PROGRAMS if not shutil.which(name)]
    return f"A Kubernetes cluster needs what is missing here: {', '.join(lacking)}." if lacking else ""


def _lacking_rights() -> list[str]:
    if os.geteuid() != 0:
        return ["root"]
    held = capabilities()
    return [name for bit, name in _CAPABILITIES.items() if not held >> bit & 1]


def _lacking_go() -> list[str]:
    wanted = re.search(r"^go (\S+)", (_HERE / "containerd" / "go.mod").read_text(), re.MULTILINE)
    assert wanted
    need = f"Go {wanted[1]} or later"
    if not shutil.which("go"):
        return [need]
    command = ["go", "env", "GOVERSION"]
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment).stdout
    return [] if _version(found) >= _version(wanted[1]) else [f"{need} (there is {found.strip() or 'none'})"]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _lacking_kernel() -> list[str]:
    lacking = []
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        lacking.append("overlayfs in the kernel")
    if not _has_nf_tables():
        lacking.append("nf_tables in the kernel")
    return lacking


def _has_nf_tables() -> bool:
    """Ask for the list of tables: a kernel without nf_tables answers with an error."""
    header = struct.pack("=IHHII", 20, _GET_TABLES, _REQUEST_AND_DUMP, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(5)
            kernel.send(header + struct.pack("=BBH", 0, 0, 0))
            answer = kernel.recv(4096)
    except OSError:
        return False
    kind: int = struct.unpack_from("=H", answer, 4)[0]
    code: int = struct.unpack_from("=i", answer, 16)[0] if kind == _ERROR else 0
    return code == 0


if __name__ == "__main__":
    if sentence := missing():
        sys.exit(sentence)
