#!/usr/bin/env bash
# Builds Kubernetes programs from the Go modules that go.mod pins, once for all checkouts, and prints where they are:
#
#     bin=$(hack/kube/build.sh helm kubectl)
#     hack/kube/build.sh --where              print the directory, build nothing
#
# Tools: helm kubectl kubeconform etcd kube-apiserver kube-controller-manager. They go to a cache outside the tree whose
# name is a hash of everything that decides what comes out, so a change of any version builds anew and leaves the rest.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
    printf 'hack/kube/build.sh: %s\n' "$@" >&2
    exit 1
}

# The modules say which Go they need; a newer one must not be fetched behind our back.
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly
command -v go >/dev/null || fail "Go is not on the PATH; helm and kubectl are built from source." \
    "Install Go $(awk '$1 == "go" { print $2 }' go.mod) or later, then run this again."
hash=$({ cat go.mod go.sum build.sh && go env GOVERSION GOOS GOARCH; } | sha256sum | cut -c 1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-sidecar/kube-$hash
bin=$cache/bin

package_of() {
    case $1 in
        helm) echo helm.sh/helm/v4/cmd/helm ;;
        kubectl | kube-apiserver | kube-controller-manager) echo "k8s.io/kubernetes/cmd/$1" ;;
        kubeconform) echo github.com/yannh/kubeconform/cmd/kubeconform ;;
        etcd) echo go.etcd.io/etcd/server/v3 ;;
        *) fail "there is no tool called $1; known are helm kubectl kubeconform etcd kube-apiserver kube-controller-manager" ;;
    esac
}

# Kubernetes and Helm say what they are by variables that the linker sets. One set of flags for all: another one would
# compile again what the tools have in common.
link_flags() {
    local kubernetes helm minor version=k8s.io/component-base/version
    kubernetes=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
    helm=$(go list -m -f '{{.Version}}' helm.sh/helm/v4)
    minor=${kubernetes#v1.}
    printf -- '-s -w -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
        $version "$kubernetes" $version $version "${minor%%.*}" $version
    printf -- ' -X helm.sh/helm/v4/internal/version.version=%s' "$helm"
}

build() {
    local package flags start=$SECONDS
    package=$(package_of "$1")
    flags=$(link_flags)
    printf '==> building %s (once, for all checkouts)\n' "$1" >&2
    nice -n 19 go build -trimpath -ldflags "$flags" -o "$bin/$1.unfinished" "$package" >&2 ||
        fail "$1 could not be built; the words of Go are above. Is a module proxy within reach?"
    mv "$bin/$1.unfinished" "$bin/$1"
    printf '==> %s: %s s\n' "$1" "$((SECONDS - start))" >&2
}

if [ "${1:-}" = --where ]; then
    echo "$bin"
    exit
fi
[ $# -gt 0 ] || fail "usage: hack/kube/build.sh TOOL...  (or --where)"

missing=()
for tool in "$@"; do
    package_of "$tool" >/dev/null
    [ -x "$bin/$tool" ] || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    mkdir -p "$bin"
    exec 9>"$cache/lock"
    flock 9 # one build at a time; what another one finished meanwhile is not built again
    export GOCACHE=$cache/objects
    for tool in "${missing[@]}"; do
        [ -x "$bin/$tool" ] || build "$tool"
    done
    rm -rf "$GOCACHE" # gigabytes that nobody needs once the programs are there
fi
echo "$bin"
