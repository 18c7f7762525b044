{{/*
# Written by hack/deploy.py from mcp_sidecar/injection/template.py. Do not edit: run `make docs`.
*/}}
{{- define "mcp-sidecar.policySpec" -}}
failurePolicy: Fail
reinvocationPolicy: IfNeeded
matchConstraints:
  matchPolicy: Equivalent
  resourceRules:
  - apiGroups:
    - ''
    apiVersions:
    - v1
    operations:
    - CREATE
    resources:
    - pods
    scope: Namespaced
matchConditions:
- name: not-injected-yet
  expression: |-
    (!has(object.spec.initContainers) || !object.spec.initContainers.exists(c, c.name == "mcp-sidecar"))
    && !object.spec.containers.exists(c, c.name == "mcp-sidecar")
- name: not-host-network
  expression: '!has(object.spec.hostNetwork) || !object.spec.hostNetwork'
- name: not-mirror-pod
  expression: '!has(object.metadata.annotations) || !("kubernetes.io/config.mirror" in object.metadata.annotations)'
- name: not-windows
  expression: |-
    (!has(object.spec.os) || object.spec.os.name != "windows")
    && (!has(object.spec.nodeSelector) || !("kubernetes.io/os" in object.spec.nodeSelector)
        || object.spec.nodeSelector["kubernetes.io/os"] != "windows")
variables:
- name: noInit
  expression: '!has(object.spec.initContainers) || size(object.spec.initContainers) == 0'
- name: noVolumes
  expression: '!has(object.spec.volumes) || size(object.spec.volumes) == 0'
- name: noAnnotations
  expression: '!has(object.metadata.annotations) || size(object.metadata.annotations) == 0'
- name: ann
  expression: 'has(object.metadata.annotations) ? object.metadata.annotations : {}'
- name: hasDrainSeconds
  expression: '"mcp-sidecar.dev/drain-seconds" in variables.ann && string(variables.ann["mcp-sidecar.dev/drain-seconds"]).matches("^([0-9]{1,4})$")'
- name: hasConfig
  expression: '"mcp-sidecar.dev/config" in variables.ann && string(variables.ann["mcp-sidecar.dev/config"]).matches("^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)$")'
- name: hasLogLevel
  expression: '"mcp-sidecar.dev/log-level" in variables.ann && string(variables.ann["mcp-sidecar.dev/log-level"]).matches("^(debug|info|warning|error)$")'
- name: hasDiscovery
  expression: '"mcp-sidecar.dev/discovery" in variables.ann && string(variables.ann["mcp-sidecar.dev/discovery"]).matches("^(off|dns|namespace|hub)$")'
- name: hasAppPort
  expression: '"mcp-sidecar.dev/app-port" in variables.ann && string(variables.ann["mcp-sidecar.dev/app-port"]).matches("^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$")'
- name: hasCpuRequest
  expression: '"mcp-sidecar.dev/cpu-request" in variables.ann && string(variables.ann["mcp-sidecar.dev/cpu-request"]).matches("^([0-9]{1,12}(\\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?)$")'
- name: hasMemoryLimit
  expression: '"mcp-sidecar.dev/memory-limit" in variables.ann && string(variables.ann["mcp-sidecar.dev/memory-limit"]).matches("^([0-9]{1,12}(\\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?)$")'
mutations:
- patchType: JSONPatch
  jsonPatch:
    expression: |-
      (variables.noAnnotations ? [JSONPatch{op: "add", path: "/metadata/annotations", value: {}}] : [])
      + [
        JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("mcp-sidecar.dev/injected-by"), value: "policy"},
        JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("mcp-sidecar.dev/version"), value: {{ .Chart.AppVersion | toJson }}}]
      + (variables.noVolumes ? [JSONPatch{op: "add", path: "/spec/volumes", value: []}] : [])
      + [
        JSONPatch{op: "add", path: "/spec/volumes/-", value: Object.spec.volumes{
          name: "mcp-sidecar-token",
          projected: Object.spec.volumes.projected{
            sources: [
              Object.spec.volumes.projected.sources{
                serviceAccountToken: Object.spec.volumes.projected.sources.serviceAccountToken{
                  audience: "mcp-sidecar.dev",
                  expirationSeconds: 3600,
                  path: "token"}}]}}}]
      + (variables.hasConfig ? [
        JSONPatch{op: "add", path: "/spec/volumes/-", value: Object.spec.volumes{
          name: "mcp-sidecar-config",
          configMap: Object.spec.volumes.configMap{
            name: variables.hasConfig ? string(variables.ann["mcp-sidecar.dev/config"]) : string("mcp-sidecar")}}}] : [])
      + (variables.noInit ? [JSONPatch{op: "add", path: "/spec/initContainers", value: []}] : [])
      + [
        JSONPatch{op: "add", path: "/spec/initContainers/0", value: Object.spec.initContainers{
          name: "mcp-sidecar",
          image: {{ include "mcp-sidecar.image" . | toJson }},
          imagePullPolicy: {{ .Values.image.pullPolicy | toJson }},
          restartPolicy: "Always",
          args: ["serve"],
          env: [
            Object.spec.initContainers.env{
              name: "POD_NAME",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{apiVersion: "v1", fieldPath: "metadata.name"}}},
            Object.spec.initContainers.env{
              name: "POD_UID",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{apiVersion: "v1", fieldPath: "metadata.uid"}}},
            Object.spec.initContainers.env{
              name: "NAMESPACE",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{apiVersion: "v1", fieldPath: "metadata.namespace"}}},
            Object.spec.initContainers.env{
              name: "NODE_NAME",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{apiVersion: "v1", fieldPath: "spec.nodeName"}}},
            Object.spec.initContainers.env{
              name: "HOST_IP",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{apiVersion: "v1", fieldPath: "status.hostIP"}}},
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_ZONE",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{
                  apiVersion: "v1",
                  fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}},
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_POD_GRACE_SECONDS",
              value: string(object.spec.terminationGracePeriodSeconds)}]
          + (variables.hasDrainSeconds ? [
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_DRAIN_GRACE",
              value: (variables.hasDrainSeconds ? string(variables.ann["mcp-sidecar.dev/drain-seconds"]) : string({{ .Values.sidecar.drainSeconds | toString | toJson }})) + "s"}] : (variables.hasConfig ? [] : [
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_DRAIN_GRACE",
              value: (variables.hasDrainSeconds ? string(variables.ann["mcp-sidecar.dev/drain-seconds"]) : string({{ .Values.sidecar.drainSeconds | toString | toJson }})) + "s"}]))
          + [
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_LOG_LEVEL",
              value: variables.hasLogLevel ? string(variables.ann["mcp-sidecar.dev/log-level"]) : string({{ .Values.sidecar.logLevel | toJson }})},
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_DISCOVERY_MODE",
              value: variables.hasDiscovery ? string(variables.ann["mcp-sidecar.dev/discovery"]) : string({{ .Values.sidecar.discovery | toJson }})}]
          + (variables.hasConfig ? [Object.spec.initContainers.env{name: "MCP_SIDECAR_CONFIG", value: "/etc/mcp-sidecar/config.yaml"}] : [])
          + (variables.hasAppPort ? [
            Object.spec.initContainers.env{
              name: "MCP_APP_PORT",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{
                  apiVersion: "v1",
                  fieldPath: "metadata.annotations['mcp-sidecar.dev/app-port']"}}},
            Object.spec.initContainers.env{
              name: "MCP_MORE_UPSTREAMS",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{
                  apiVersion: "v1",
                  fieldPath: "metadata.annotations['mcp-sidecar.dev/upstreams']"}}},
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_UPSTREAMS",
              value: "app=http://127.0.0.1:$(MCP_APP_PORT)/mcp,$(MCP_MORE_UPSTREAMS)"},
            Object.spec.initContainers.env{name: "MCP_SIDECAR_LISTEN_GRPC", value: "0.0.0.0:15051"},
            Object.spec.initContainers.env{name: "MCP_SIDECAR_LISTEN_HTTP", value: "0.0.0.0:15080"},
            Object.spec.initContainers.env{name: "MCP_SIDECAR_HTTP_ALLOWED_HOSTS", value: "*"}]
          + (variables.hasConfig ? [] : [
            Object.spec.initContainers.env{name: "MCP_SIDECAR_AUTH_MODE", value: {{ .Values.sidecar.auth | toJson }}},
            Object.spec.initContainers.env{name: "MCP_SIDECAR_AUTH_AUDIENCE", value: "mcp-sidecar.dev"}]) : [
            Object.spec.initContainers.env{
              name: "MCP_SIDECAR_UPSTREAMS",
              valueFrom: Object.spec.initContainers.env.valueFrom{
                fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{
                  apiVersion: "v1",
                  fieldPath: "metadata.annotations['mcp-sidecar.dev/upstreams']"}}},
            Object.spec.initContainers.env{name: "MCP_SIDECAR_DRAIN_LAME_DUCK", value: "0s"}])
          + [
            Object.spec.initContainers.env{
              name: "OTEL_EXPORTER_OTLP_ENDPOINT",
              value: {{ .Values.sidecar.otlpEndpoint | toJson }}},
            Object.spec.initContainers.env{
              name: "OTEL_RESOURCE_ATTRIBUTES",
              value: "k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.namespace.name=$(NAMESPACE),k8s.node.name=$(NODE_NAME),k8s.container.name=mcp-sidecar"},
            {{- range $name, $value := .Values.sidecar.env }}
            Object.spec.initContainers.env{name: {{ $name | toJson }}, value: {{ $value | toString | toJson }}},
            {{- end }}],
          ports: [
            Object.spec.initContainers.ports{name: "mcp-health", containerPort: 15081, protocol: "TCP"},
            Object.spec.initContainers.ports{name: "mcp-metrics", containerPort: 15090, protocol: "TCP"}]
          + (variables.hasAppPort ? [
            Object.spec.initContainers.ports{name: "mcp", containerPort: 15080, protocol: "TCP"},
            Object.spec.initContainers.ports{name: "mcp-grpc", containerPort: 15051, protocol: "TCP"}] : []),
          startupProbe: Object.spec.initContainers.startupProbe{
            grpc: Object.spec.initContainers.startupProbe.grpc{port: 15081, service: "startup"},
            periodSeconds: 1,
            failureThreshold: 60,
            timeoutSeconds: 2},
          readinessProbe: Object.spec.initContainers.readinessProbe{
            grpc: Object.spec.initContainers.readinessProbe.grpc{port: 15081, service: "readiness"},
            periodSeconds: 5,
            failureThreshold: 3,
            timeoutSeconds: 2},
          livenessProbe: Object.spec.initContainers.livenessProbe{
            grpc: Object.spec.initContainers.livenessProbe.grpc{port: 15081, service: "liveness"},
            periodSeconds: 10,
            failureThreshold: 6,
            timeoutSeconds: 3},
          resources: Object.spec.initContainers.resources{
            requests: {
              "cpu": variables.hasCpuRequest ? string(variables.ann["mcp-sidecar.dev/cpu-request"]) : string({{ .Values.sidecar.resources.requests.cpu | toString | toJson }}),
              "memory": variables.hasMemoryLimit ? string(variables.ann["mcp-sidecar.dev/memory-limit"]) : string({{ .Values.sidecar.resources.requests.memory | toString | toJson }})},
            limits: {
              "memory": variables.hasMemoryLimit ? string(variables.ann["mcp-sidecar.dev/memory-limit"]) : string({{ .Values.sidecar.resources.limits.memory | toString | toJson }})}},
          securityContext: Object.spec.initContainers.securityContext{
            runAsNonRoot: true,
            runAsUser: 65532,
            runAsGroup: 65532,
            readOnlyRootFilesystem: true,
            allowPrivilegeEscalation: false,
            capabilities: Object.spec.initContainers.securityContext.capabilities{drop: ["ALL"]},
            seccompProfile: Object.spec.initContainers.securityContext.seccompProfile{type: "RuntimeDefault"}},
          terminationMessagePolicy: "FallbackToLogsOnError",
          volumeMounts: [
            Object.spec.initContainers.volumeMounts{
              name: "mcp-sidecar-token",
              mountPath: "/var/run/secrets/mcp-sidecar.dev",
              readOnly: true}]
          + (variables.hasConfig ? [
            Object.spec.initContainers.volumeMounts{
              name: "mcp-sidecar-config",
              mountPath: "/etc/mcp-sidecar",
              readOnly: true}] : [])}}]
      + (variables.hasAppPort ? [
        JSONPatch{op: "add", path: "/spec/initContainers/0/lifecycle", value: Object.spec.initContainers.lifecycle{
          preStop: Object.spec.initContainers.lifecycle.preStop{
            exec: Object.spec.initContainers.lifecycle.preStop.exec{command: ["mcp-sidecar", "drain", "--wait", "3600"]}}}}] : [])
{{- end }}
