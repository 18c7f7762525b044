#!/usr/bin/env bash
# Builds what is missing and starts a Kubernetes cluster of one node with the images of this checkout in it; prints the
# KUBECONFIG. `hack/kube/down.sh` ends it. MCP_SIDECAR_KUBE_RUN names the directory it lives in.
set -euo pipefail
cd "$(dirname "$0")/../.."
.venv/bin/python -m hack.kube.requirements
hack/kube/build.sh cluster >/dev/null
hack/otelcol/build.sh >/dev/null
exec .venv/bin/python -m hack.kube.cluster up
