"""Configuration files and command lines of what runs on the node; starts nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hack.kube.layout import NODE, REGISTRY, Layout

_CAP_SYS_RESOURCE = 24


def write(layout: Layout) -> None:
    """Every configuration file, below `layout.run`."""
    run = layout.run
    (run / "kubelet.yaml").write_text(json.dumps(_kubelet(layout)))
    (run / "proxy.yaml").write_text(json.dumps(_proxy(layout)))
    (run / "Corefile").write_text(_corefile(layout))
    (run / "cni").mkdir()
    (run / "cni" / "10-ptp.conflist").write_text(json.dumps(_cni(layout)))
    (run / "containerd.toml").write_text(_containerd(layout))


def capabilities() -> int:
    """The effective capabilities of this process, a bit for each."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("CapEff")).split()[1], 16)


def _kubelet(layout: Layout) -> dict[str, Any]:
    run = layout.run
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{run}/containerd.sock",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.name}",
        "address": layout.node_address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{layout.pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{layout.pki}/kubelet.key",
        "podLogsDir": f"{run}/pod-logs",
        "resolvConf": "",
        "clusterDomain": "cluster.local",
        "clusterDNS": [layout.node_address],
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        # The disk is the machine's: how full it is says nothing of the cluster.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": dict.fromkeys(("nodefs.available", "imagefs.available", "nodefs.inodesFree"), "0%")
        | {"memory.available": "50Mi"},
        "enforceNodeAllocatable": ["pods"],
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        "volumePluginDir": f"{run}/volume-plugins",
    }


def _proxy(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": layout.pods,
        "clientConnection": {"kubeconfig": f"{layout.run}/proxy.kubeconfig"},
        "hostnameOverride": NODE,
        # Limits of connection tracking belong to the whole machine: leave them alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
    }


def _corefile(layout: Layout) -> str:
    return f"""cluster.local:53 in-addr.arpa:53 {{
  bind {layout.node_address}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {layout.run}/dns.kubeconfig here
    pods verified
    ttl 1
  }}
}}
"""


def _cni(layout: Layout) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": f"{layout.run}/cni-data",
        "ranges": [[{"subnet": layout.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": "ptp", "plugins": [plugin]}


def _containerd(layout: Layout) -> str:
    # runc lowers the OOM score of sandboxes, which needs a capability that containers seldom have.
    may_lower = bool(capabilities() >> _CAP_SYS_RESOURCE & 1)
    unused = ("nri.v1.nri", "tracing.processor.v1.otlp", "snapshotter.v1.erofs")
    return f"""version = 3
root = "{layout.run}/containerd"
state = "/run/containerd"
disabled_plugins = {json.dumps([f"io.containerd.{name}" for name in unused])}
[grpc]
  address = "{layout.run}/containerd.sock"
[ttrpc]
  address = "/run/containerd.ttrpc"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{REGISTRY}/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = {"false" if may_lower else "true"}
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{layout.programs}"]
    conf_dir = "{layout.run}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{layout.debian}/runc"
      SystemdCgroup = false
"""


def etcd(layout: Layout) -> list[str]:
    """Arguments of etcd: one member on loopback, and no care for what a power cut would do."""
    clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        f"--data-dir={layout.run}/etcd",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]


def apiserver(layout: Layout) -> list[str]:
    """Arguments of kube-apiserver. RBAC and Pod Security are on, as everywhere."""
    pki = layout.pki
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        "--secure-port=6443",
        "--bind-address=0.0.0.0",
        f"--advertise-address={layout.node_address}",
        f"--service-cluster-ip-range={layout.services}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.key",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    ]


def manager(layout: Layout) -> list[str]:
    """Arguments of kube-controller-manager. With its usual limits a namespace waits 6 s for its ServiceAccount."""
    return [
        f"--kubeconfig={layout.run}/manager.kubeconfig",
        "--bind-address=127.0.0.1",
        f"--cert-dir={layout.run}/manager-certs",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={layout.pki}/ca.crt",
        f"--service-account-private-key-file={layout.pki}/sa.key",
        "--profiling=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        f"--flex-volume-plugin-dir={layout.run}/volume-plugins",
    ]


def scheduler(layout: Layout) -> list[str]:
    """Arguments of kube-scheduler."""
    return [
        f"--kubeconfig={layout.run}/scheduler.kubeconfig",
        "--bind-address=127.0.0.1",
        f"--cert-dir={layout.run}/scheduler-certs",
        "--leader-elect=false",
        "--profiling=false",
    ]


def kubelet(layout: Layout) -> list[str]:
    """Arguments of the kubelet."""
    return [
        f"--config={layout.run}/kubelet.yaml",
        f"--kubeconfig={layout.run}/kubelet.kubeconfig",
        f"--root-dir={layout.run}/kubelet",
        f"--cert-dir={layout.run}/kubelet-certs",
        f"--hostname-override={NODE}",
        f"--node-ip={layout.node_address}",
    ]
