"""How the image is laid out, read from the last stage of the Dockerfile, which is the one place that says so.

`python hack/image_layout.py` prints it as JSON, in the words of an OCI image configuration. Knows no builder: whatever
makes an image of the sidecar (docker, or the builder of the tests) gets paths, user and entrypoint from here.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile"


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, the rest) in order, comments dropped, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined) if word]


def last_stage(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    start = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    return steps[start:]


def layout(dockerfile: str) -> dict[str, Any]:
    """The members of an OCI image's `config`, and `venv`: where the environment with the sidecar is."""
    stage = last_stage(instructions(dockerfile))
    said = dict(stage)
    copied = re.fullmatch(r"--from=builder (\S+) \1", said["COPY"])
    if copied is None:
        raise ValueError("Dockerfile: the last stage is to COPY one folder from the builder to the same place")
    return {
        "User": said["USER"],
        "WorkingDir": said["WORKDIR"],
        "Entrypoint": json.loads(said["ENTRYPOINT"]),
        "Cmd": json.loads(said["CMD"]),
        "Env": [item for word, rest in stage if word == "ENV" for item in shlex.split(rest)],
        "ExposedPorts": {f"{port}/tcp": {} for port in said["EXPOSE"].split()},
        "venv": copied[1],
    }


if __name__ == "__main__":
    json.dump(layout(DOCKERFILE.read_text()), sys.stdout, indent=2)
    print()
