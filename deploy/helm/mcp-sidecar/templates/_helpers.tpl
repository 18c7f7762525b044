{{/* Names and labels that the templates share, and the checks that a schema cannot make. */}}

{{- define "mcp-sidecar.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Names leave room for the longest suffix, "-discovery". */}}
{{- define "mcp-sidecar.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mcp-sidecar.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mcp-sidecar.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mcp-sidecar.labels" -}}
{{ include "mcp-sidecar.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mcp-sidecar
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A digest says more than a tag, so it stands alone. */}}
{{- define "mcp-sidecar.image" -}}
{{- with .Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{/* What Pod Security "restricted" asks for, and a root that nobody writes to. */}}
{{- define "mcp-sidecar.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mcp-sidecar.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "mcp-sidecar.webhook.fullname" -}}
{{ include "mcp-sidecar.fullname" . }}-webhook
{{- end }}

{{/* Two names, so that neither Helm nor cert-manager finds what the other one left. */}}
{{- define "mcp-sidecar.webhook.secretName" -}}
{{ include "mcp-sidecar.webhook.fullname" . }}-{{ eq .Values.webhook.certificates.source "helm" | ternary "tls" "certificate" }}
{{- end }}

{{- define "mcp-sidecar.webhook.serviceAccountName" -}}
{{- if .Values.webhook.serviceAccount.create }}
{{- default (include "mcp-sidecar.webhook.fullname" .) .Values.webhook.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.webhook.serviceAccount.name }}
{{- end }}
{{- end }}

{{/*
What sidecars are like, as the flags of `mcp-sidecar webhook`. `$(NAME)` is meant for the sidecar; doubled, or Kubernetes
would put in what the webhook's own container has by that name.
*/}}
{{- define "mcp-sidecar.webhook.arguments" -}}
{{- $sidecar := .Values.sidecar }}
{{- $flags := list
      (printf "--image=%s" (include "mcp-sidecar.image" .))
      (printf "--pull-policy=%s" .Values.image.pullPolicy)
      (printf "--auth=%s" $sidecar.auth)
      (printf "--drain-seconds=%v" $sidecar.drainSeconds)
      (printf "--cpu-request=%v" $sidecar.resources.requests.cpu)
      (printf "--memory-request=%v" $sidecar.resources.requests.memory)
      (printf "--memory-limit=%v" $sidecar.resources.limits.memory) }}
{{- with $sidecar.logLevel }}{{ $flags = append $flags (printf "--log-level=%s" .) }}{{ end }}
{{- with $sidecar.discovery }}{{ $flags = append $flags (printf "--discovery=%s" .) }}{{ end }}
{{- with $sidecar.otlpEndpoint }}{{ $flags = append $flags (printf "--otlp-endpoint=%s" .) }}{{ end }}
{{- range $name, $value := $sidecar.env }}{{ $flags = append $flags (printf "--env=%s=%s" $name $value) }}{{ end }}
{{- range $flags }}
- {{ . | replace "$(" "$$(" | quote }}
{{- end }}
{{- end }}

{{/* Not empty when there are sidecars that watch EndpointSlices. */}}
{{- define "mcp-sidecar.watches" -}}
{{- if or (eq .Values.sidecar.discovery "namespace") (eq "namespace" (dig "discovery" "mode" "off" .Values.config)) }}yes{{ end }}
{{- end }}

{{/*
The kind in the capabilities says that the cluster serves it. Without a cluster (`helm template`) they have no such
entry, and the version has to do.
*/}}
{{- define "mcp-sidecar.servesPolicies" -}}
{{- if or (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
          (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) }}yes{{ end }}
{{- end }}

{{- define "mcp-sidecar.requirePolicies" -}}
{{- if not (include "mcp-sidecar.servesPolicies" .) }}
{{- fail (printf (cat
      "\n\ninjection.mode=policy needs MutatingAdmissionPolicy v1, which Kubernetes has since 1.36; this is %s."
      "\nSet injection.mode=webhook, or injection.mode=none and let `mcp-sidecar inject` add sidecars to manifests.\n")
    .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- end }}
