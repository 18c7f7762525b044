"""Reads what the Dockerfile says of the image that comes out; builds nothing."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def image_config(path: Path) -> dict[str, Any]:
    """The `config` of an OCI image, as the last stage of the Dockerfile declares it."""
    steps = _last_stage(path.read_text())
    environment = {"PATH": _PATH}
    for word, rest in steps:
        if word == "ENV":
            for setting in shlex.split(rest):
                name, _, value = setting.partition("=")
                environment[name] = re.sub(r"\$\{?(\w+)\}?", lambda found: environment.get(found[1], ""), value)
    said = dict(steps)
    return {
        "Entrypoint": json.loads(said["ENTRYPOINT"]),
        "Cmd": json.loads(said["CMD"]),
        "User": said["USER"],
        "WorkingDir": said["WORKDIR"],
        "Env": [f"{name}={value}" for name, value in environment.items()],
    }


def _last_stage(text: str) -> list[tuple[str, str]]:
    """(instruction, the rest) in order, comments dropped, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    steps = [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined) if word]
    return steps[max(index for index, (word, _) in enumerate(steps) if word == "FROM") :]
