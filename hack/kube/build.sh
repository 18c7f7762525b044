#!/usr/bin/env bash
# Builds Kubernetes programs from the Go modules that go.mod pins, once for all checkouts, and prints where they are:
#
#     bin=$(hack/kube/build.sh helm kubectl)
#     hack/kube/build.sh cluster              everything that a cluster of one node runs
#     hack/kube/build.sh --where              print the directory, build nothing
#
# They go to a cache outside the tree whose name is a hash of everything that decides what comes out, so a change of any
# version builds anew and leaves the rest. Two that want the same wait for each other; what one built, the other finds.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

# In the order in which they are built: ordinary tests want the first two.
CLUSTER="helm kubectl kube-apiserver etcd kubelet kube-controller-manager kube-scheduler kube-proxy
    containerd containerd-shim-runc-v2 ctr ptp loopback host-local coredns pause debian"
# shellcheck disable=SC2086,SC2116 # joins the lines
KNOWN=$(echo $CLUSTER kubeconform)
# runc, and nft for kube-proxy: their libraries need a C compiler, so they are taken from packages, and not installed.
DEBIAN="runc nftables libnftables1 libnftnl11 libseccomp2 libxtables12 libjansson4 libgmp10 libedit2 libbsd0 libmd0
    libmnl0 libtinfo6"

fail() {
    printf 'hack/kube/build.sh: %s\n' "$@" >&2
    exit 1
}

# The modules say which Go they need; a newer one must not be fetched behind our back.
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false'
command -v go >/dev/null || fail "Go is not on the PATH; Kubernetes and Helm are built from source." \
    "Install Go $(awk '$1 == "go" { print $2 }' containerd/go.mod) or later, then run this again."
hash=$({ cat go.mod go.sum */go.mod */go.sum */main.go build.sh && go env GOVERSION GOOS GOARCH; } | sha256sum | cut -c 1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-sidecar/kube/$hash
bin=$cache/bin

package_of() {
    case $1 in
        helm) echo helm.sh/helm/v4/cmd/helm ;;
        kubeconform) echo github.com/yannh/kubeconform/cmd/kubeconform ;;
        kube*) echo "k8s.io/kubernetes/cmd/$1" ;;
        etcd) echo go.etcd.io/etcd/server/v3 ;;
        containerd* | ctr) echo "github.com/containerd/containerd/v2/cmd/$1" ;;
        ptp | loopback) echo "github.com/containernetworking/plugins/plugins/main/$1" ;;
        host-local) echo github.com/containernetworking/plugins/plugins/ipam/host-local ;;
        coredns | pause) echo . ;;
    esac
}

module_of() {
    case $1 in
        containerd* | ctr) echo containerd ;;
        ptp | loopback | host-local) echo cni ;;
        coredns | pause) echo "$1" ;;
        *) echo . ;;
    esac
}

version_of() { (cd "$1" && go list -m -f '{{.Version}}' "$2"); }

# What programs say of themselves are variables that the linker sets. One set of flags for a module: another one would
# compile again what its programs have in common.
link_flags() {
    local kubernetes minor version=k8s.io/component-base/version
    printf -- '-s -w'
    case $1 in
        .)
            kubernetes=$(version_of . k8s.io/kubernetes)
            minor=${kubernetes#v1.}
            printf -- ' -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
                $version "$kubernetes" $version $version "${minor%%.*}" $version
            printf -- ' -X helm.sh/helm/v4/internal/version.version=%s' "$(version_of . helm.sh/helm/v4)"
            ;;
        containerd)
            version=github.com/containerd/containerd/v2
            printf -- ' -X %s/version.Version=%s' $version "$(version_of containerd $version)"
            ;;
    esac
}

build() {
    local module package flags start=$SECONDS tags=''
    module=$(module_of "$1")
    package=$(package_of "$1")
    flags=$(link_flags "$module")
    [ "$module" != containerd ] || tags='no_btrfs no_devmapper no_zfs no_aufs osusergo netgo'
    printf '==> building %s (once, for all checkouts)\n' "$1" >&2
    (cd "$module" && nice -n 19 go build -tags "$tags" -ldflags "$flags" -o "$bin/$1.unfinished" "$package") >&2 ||
        fail "$1 could not be built; the words of Go are above. Is a module proxy within reach?"
    mv "$bin/$1.unfinished" "$bin/$1"
    printf '==> %s: %s s\n' "$1" "$((SECONDS - start))" >&2
}

# The lists of a machine may be missing, or name versions that are gone.
download_debian() {
    # shellcheck disable=SC2086 # several names
    apt-get -qq -o APT::Sandbox::User=root download $DEBIAN || {
        apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download $DEBIAN
    }
}

unpack_debian() {
    local work=$bin/debian.unfinished
    printf '==> unpacking runc and nft from Debian packages\n' >&2
    rm -rf "$work" && mkdir -p "$work/packages"
    (cd "$work/packages" && download_debian) >&2 ||
        fail "apt-get could not download runc and nftables; its words are above. Is a mirror of Debian within reach?"
    for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done
    cp -a "$work"/unpacked/usr/sbin/{runc,nft} "$work/"
    find "$work/unpacked" -name 'lib*.so*' -exec cp -a {} "$work/" \;
    rm -rf "$work/unpacked" "$work/packages"
    mv "$work" "$bin/debian"
}

[ $# -gt 0 ] || fail "usage: hack/kube/build.sh TOOL...  (cluster for all of a cluster; --where builds nothing)"
if [ "$1" = --where ]; then
    echo "$bin"
    exit
fi
[ "$1" != cluster ] || set -- $CLUSTER

missing=()
for tool in "$@"; do
    [[ " $KNOWN " == *" $tool "* ]] || fail "there is no tool called $tool; known are $KNOWN"
    [ -e "$bin/$tool" ] || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    mkdir -p "$bin"
    export GOCACHE=$cache/objects
    exec 8>"$cache/builders" 9>"$cache/lock"
    flock --shared 8
    for tool in "${missing[@]}"; do
        flock 9 # one program at a time; what another build finished meanwhile is not built again
        if [ -e "$bin/$tool" ]; then :; elif [ "$tool" = debian ]; then unpack_debian; else build "$tool"; fi
        flock --unlock 9
    done
    # The last one to go takes along the gigabytes that nobody needs once the programs are there.
    if flock --exclusive --nonblock 8; then rm -rf "$GOCACHE"; fi
fi
echo "$bin"
