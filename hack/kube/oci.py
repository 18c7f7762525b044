"""Writes OCI image archives, which `ctr images import` reads; knows layers and configurations, and no registry."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_BLOCK = 1 << 20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """An image: the lowest layer first, and what a Dockerfile would say of it (`Entrypoint`, `Env`, `User` …)."""

    name: str
    layers: Sequence[Path]
    config: Json = field(default_factory=dict)


def write_layer(archive: Path, folder: Path) -> None:
    """Everything below the folder, owned by root, with times that never change."""
    unfinished = archive.with_suffix(".unfinished")
    with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as layer:
        for entry in sorted(folder.iterdir()):
            layer.add(entry, arcname=entry.name, filter=_by_nobody_at_no_time)
    unfinished.rename(archive)


def write(archive: Path, images: Sequence[Image]) -> None:
    """One archive with all the images; layers that several of them have are in it once."""
    with tarfile.open(archive, "w") as target:
        blobs = _Blobs(target)
        manifests = [_add(blobs, image) for image in images]
        _add_file(target, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
        _add_file(target, "index.json", json.dumps(index).encode())


def _add(blobs: _Blobs, image: Image) -> Json:
    """Add what the image is made of; returns its line in the index."""
    layers = [blobs.add_file(_LAYER, layer) for layer in image.layers]
    machine = {"architecture": _MACHINES[platform.machine()], "os": "linux"}
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = blobs.add(_CONFIG, json.dumps({**machine, "config": image.config, "rootfs": rootfs}).encode())
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
    names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
    return {**blobs.add(_MANIFEST, json.dumps(manifest).encode()), "annotations": names, "platform": machine}


class _Blobs:
    """The content of an archive by its hash, each once."""

    def __init__(self, target: tarfile.TarFile) -> None:
        self._target = target
        self._there: set[str] = set()

    def add(self, media: str, content: bytes) -> Json:
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._there:
            self._there.add(digest)
            _add_file(self._target, f"blobs/sha256/{digest}", content)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}

    def add_file(self, media: str, path: Path) -> Json:
        digest = _hash(path)
        if digest not in self._there:
            self._there.add(digest)
            self._target.add(path, arcname=f"blobs/sha256/{digest}")
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": path.stat().st_size}


def _hash(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _add_file(target: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    target.addfile(entry, io.BytesIO(content))


def _by_nobody_at_no_time(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry
