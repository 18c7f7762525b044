#!/bin/sh
# Lints the Helm chart with every set of values in its ci/, and packages it into dist/.
set -eu
cd "$(dirname "$0")/.."
chart=deploy/helm/mcp-sidecar
bin=$(hack/kube/build.sh helm)
for values in "$chart"/ci/*-values.yaml; do
    echo "==> helm lint --strict with $(basename "$values")"
    # The newest Kubernetes that is supported: the policy needs 1.36.
    "$bin/helm" lint --strict --quiet --kube-version 1.37.0 --values "$values" "$chart"
done
mkdir -p dist
"$bin/helm" package "$chart" --destination dist
