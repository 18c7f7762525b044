"""What of `hack/kube` can be tested without a cluster: archives of images, and the word on what is missing."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from hack.kube import oci, requirements
from hack.kube.layout import Layout, load

ROOT = Path(__file__).resolve().parent.parent


def written(tmp_path: Path) -> tarfile.TarFile:
    """An archive with two images that have a layer in common."""
    (tmp_path / "root" / "bin").mkdir(parents=True)
    (tmp_path / "root" / "bin" / "program").write_text("#!/bin/true\n")
    oci.write_layer(tmp_path / "layer.tar", tmp_path / "root")
    config = {"Entrypoint": ["/bin/program"]}
    images = [oci.Image(f"image.test/{name}:1", [tmp_path / "layer.tar"], config) for name in ("one", "two")]
    oci.write(tmp_path / "images.tar", images)
    return tarfile.open(tmp_path / "images.tar")


def test_an_archive_has_what_its_names_say(tmp_path: Path) -> None:
    with written(tmp_path) as archive:
        blobs = [name for name in archive.getnames() if name.startswith("blobs/sha256/")]
        for name in blobs:
            content = archive.extractfile(name)
            assert content is not None
            assert hashlib.sha256(content.read()).hexdigest() == name.rpartition("/")[2]
        assert len(blobs) == len({*blobs}) == 3, "one layer, one configuration, one manifest"


def test_the_index_of_an_archive_names_every_image(tmp_path: Path) -> None:
    with written(tmp_path) as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        manifests = json.loads(index.read())["manifests"]
    names = [manifest["annotations"]["io.containerd.image.name"] for manifest in manifests]
    assert names == ["image.test/one:1", "image.test/two:1"]


def test_the_same_files_make_the_same_layer(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for name in ("first.tar", "second.tar"):
        (tmp_path / "root" / "file").write_text("the same")  # at another time
        oci.write_layer(tmp_path / name, tmp_path / "root")
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_what_is_missing_for_a_cluster_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = requirements.missing()
    assert "Go" in said
    assert "openssl" in said
    assert said.endswith(".")
    assert "\n" not in said


def test_a_cluster_is_found_again_by_its_directory(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    layout = Layout(tmp_path, tmp_path / "bin", 7)
    layout.save()
    assert load(tmp_path) == layout


def test_clusters_of_one_machine_share_no_network() -> None:
    first, second = (Layout(Path("/nowhere"), Path("/nowhere"), number) for number in (0, 1))
    for fact in ("name", "node_address", "pods", "services"):
        assert getattr(first, fact) != getattr(second, fact)


@pytest.mark.parametrize("script", ["build.sh", "up.sh", "down.sh", "test.sh"])
def test_scripts_of_the_cluster_can_be_run_as_they_stand(script: str) -> None:
    assert os.access(ROOT / "hack" / "kube" / script, os.X_OK)
