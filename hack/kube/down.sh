#!/usr/bin/env bash
# Ends the cluster that `hack/kube/up.sh` started, and says what is left of it: nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec .venv/bin/python -m hack.kube.cluster down
