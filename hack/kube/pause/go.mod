module mcp-sidecar.dev/hack/kube/pause

go 1.26.0
