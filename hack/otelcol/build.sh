#!/usr/bin/env bash
# Builds the OpenTelemetry Collector of main.go from the Go modules that go.mod pins, once for all checkouts, and prints
# where the program is:
#
#     collector=$(hack/otelcol/build.sh)
#     hack/otelcol/build.sh --where           print the path, build nothing
#
# It goes to a cache outside the tree whose name is a hash of everything that decides what comes out.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

fail() {
    printf 'hack/otelcol/build.sh: %s\n' "$@" >&2
    exit 1
}

# The module says which Go it needs; a newer one must not be fetched behind our back.
# The tag leaves out Prometheus's service discovery, which brings along the clients of some twenty platforms, two hundred
# packages: what is scraped here has an address.
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false -tags=remove_all_sd'
command -v go >/dev/null || fail "Go is not on the PATH; the collector is built from source." \
    "Install Go $(awk '$1 == "go" { print $2 }' go.mod) or later, then run this again."
hash=$({ cat go.mod go.sum main.go build.sh && go env GOVERSION GOOS GOARCH; } | sha256sum | cut -c 1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-sidecar/otelcol/$hash
program=$cache/otelcol

if [ "${1:-}" = --where ]; then
    echo "$program"
    exit
fi
[ $# -eq 0 ] || fail "usage: hack/otelcol/build.sh [--where]"

if [ ! -x "$program" ]; then
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9 # what another build finished meanwhile is not built again
    if [ ! -x "$program" ]; then
        start=$SECONDS
        printf '==> building the collector (once, for all checkouts)\n' >&2
        # Its objects are of no use to anything else, and there are gigabytes of them.
        GOCACHE=$cache/objects nice -n 19 go build -ldflags '-s -w' -o "$program.unfinished" . >&2 ||
            fail "the collector could not be built; the words of Go are above. Is a module proxy within reach?"
        mv "$program.unfinished" "$program"
        rm -rf "$cache/objects"
        printf '==> the collector: %s s\n' "$((SECONDS - start))" >&2
    fi
fi
echo "$program"
