"""Connects tests to a running cluster, gives each a namespace, and shows what was in it when a test fails.

The cluster is started and ended by `hack/kube/test.sh` (`make test-kube`), or by hand with `hack/kube/up.sh`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from hack.kube.layout import Layout, default_run, load
from tests.cluster.kubectl import Cluster, Namespace
from tests.cluster.namespaces import made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A pod needs seconds to start and to end; the bound of ordinary tests is too short for several of them."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def layout() -> Layout:
    """Where the cluster is."""
    found = load(default_run())
    if found is None or not (found.run / "ready").exists():
        pytest.exit("no cluster runs here: `make test-kube` starts one, or `hack/kube/up.sh`", returncode=1)
    return found


@pytest.fixture(scope="session")
def cluster(layout: Layout) -> Cluster:
    """The cluster as its administrator sees it."""
    return Cluster(layout)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """An empty namespace that admits only pods of the Pod Security level *restricted*; it is deleted afterwards."""
    with made(cluster, request.node.name, "restricted") as namespace:
        yield namespace


@pytest.fixture
def open_namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """An empty namespace that admits every pod, such as those that write ledgers onto the node."""
    with made(cluster, request.node.name, "privileged") as namespace:
        yield namespace


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a test that failed what was going on in its namespaces."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, Namespace):
                report.sections.append((f"{name} {value.name}", value.diagnosis()))
    return report
