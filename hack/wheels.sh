#!/bin/sh
# Fills dist/wheels/ARCH with the wheel of the project and of all it needs there: what the Dockerfile installs, without a
# network. `hack/wheels.sh [amd64|arm64]`; the versions are those of constraints-dev.txt, so the same commit gives the same
# image. Needs .venv (make setup) and a package index.
set -eu
cd "$(dirname "$0")/.."
# The Python of the Dockerfile.
python=$(sed -n 's/^FROM python:\([0-9.]*\).* AS builder$/\1/p' Dockerfile)
arch=${1:-amd64}
case $arch in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *)
        echo "usage: hack/wheels.sh [amd64|arm64]" >&2
        exit 2
        ;;
esac
wheels=dist/wheels/$arch
rm -rf "$wheels"
# Files in the wheel are dated by the last commit, or two builds would differ.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 315532800)
export SOURCE_DATE_EPOCH
pip() {
    .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"
}
pip wheel --quiet --no-deps --wheel-dir "$wheels" .
project=$(echo "$wheels"/mcp_sidecar-*.whl)
# Wheels for older C libraries run on newer ones; pip takes only those it is told of.
pip download --quiet --only-binary=:all: --python-version "$python" --implementation cp --abi "cp$(echo "$python" | tr -d .)" --abi abi3 --abi none \
    --platform "manylinux_2_34_$machine" --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
    --constraint constraints-dev.txt --find-links "$wheels" --dest "$wheels" "$project[kubernetes,otel]"
echo "$wheels: $(find "$wheels" -name '*.whl' | wc -l) wheels"
