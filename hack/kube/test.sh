#!/usr/bin/env bash
# Runs tests/cluster on a cluster of its own, which is gone afterwards whatever happened. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
MCP_SIDECAR_KUBE_RUN=$(mktemp -d /tmp/mcp-sidecar-kube.XXXXXX)
export MCP_SIDECAR_KUBE_RUN

finish() {
    status=$?
    trap - EXIT
    trap '' INT TERM # nothing may keep it from ending what it started
    hack/kube/down.sh || status=1
    rm -rf "$MCP_SIDECAR_KUBE_RUN"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start=$SECONDS
hack/kube/up.sh
printf '==> cluster ready: %s s\n' "$((SECONDS - start))"
# Most of the time the tests wait for the kubelet, so more of them run at once than there are cores. Those that take
# something away from the whole cluster run alone.
.venv/bin/python -m pytest -p no:randomly -n "${JOBS:-4}" --dist loadgroup -m 'not alone' tests/cluster "$@" || [ $? -eq 5 ] # 5: none was picked
.venv/bin/python -m pytest -p no:randomly -n 0 -m alone tests/cluster "$@" || [ $? -eq 5 ]
