"""Generates mcp_sidecar/v1 from protos/, or checks that what is committed is what would be generated.

    python hack/protos.py            write
    python hack/protos.py --check    compare; exit 1 and name the files when they differ

The generated code is committed, because generating it at build time would let whatever generator is current then decide
which grpcio and protobuf users need. Knows nothing of what the messages mean.
"""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("mcp_sidecar/v1")


def generate(target: Path) -> None:
    """Write the modules and stubs of every .proto file below `target`."""
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    outputs.append(f"--mypy_grpc_out=quiet:{target}")
    sources = [str(path.relative_to(PROTOS)) for path in sorted(PROTOS.rglob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *outputs]
    subprocess.run([*command, f"--plugin=protoc-gen-mypy_grpc={plugin}", *sources], check=True)


def stale(fresh: Path) -> list[str]:
    """The files, as paths in the repository, that differ from those below `fresh`, or are there on one side only."""
    names = {path.name for folder in (fresh / PACKAGE, ROOT / PACKAGE) for path in folder.glob("*_pb2*.py*")}
    _, differ, missing = filecmp.cmpfiles(fresh / PACKAGE, ROOT / PACKAGE, sorted(names), shallow=False)
    return [str(PACKAGE / name) for name in sorted(differ + missing)]


def main(arguments: list[str]) -> int:
    if arguments != ["--check"]:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        names = stale(Path(folder))
    for name in names:
        print(f"{name} is not what protos/ says: run `make protos`", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
