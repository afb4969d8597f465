{{- define "pine-gate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pine-gate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "pine-gate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pine-gate.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pine-gate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pine-gate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pine-gate.labels" -}}
{{ include "pine-gate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "pine-gate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pine-gate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pine-gate.secretName" -}}
{{- default (include "pine-gate.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{- define "pine-gate.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}:{{ $tag }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{- /* What can't be right, said before anything is installed. */ -}}
{{- define "pine-gate.check" -}}
{{- $own := not .Values.secrets.existingSecret -}}
{{- if and $own (not .Values.secrets.adminKey) -}}
{{- fail "set secrets.existingSecret to a Secret with admin-key, or secrets.adminKey to a key of 20 characters or more: `caddy pinegate keygen` makes one" -}}
{{- end -}}
{{- if not .Values.gate.caddyfile -}}
{{- if not .Values.gate.backends -}}
{{- fail "gate.backends is empty: name a model server, or [{name: echo, config: \"api echo\"}] for a trial" -}}
{{- end -}}
{{- if and (not .Values.gate.keys) (not (regexMatch `(?m)^\s*keys?\s` .Values.gate.extra)) -}}
{{- fail "gate.keys is empty: a gate without keys would let nobody in" -}}
{{- end -}}
{{- range .Values.gate.keys -}}
{{- if and $own (not .value) (not .sha256) -}}
{{- fail (printf "key %q: set its value or its sha256, or secrets.existingSecret" .id) -}}
{{- end -}}
{{- end -}}
{{- range .Values.gate.backends -}}
{{- if and $own .secretKey -}}
{{- fail (printf "backend %q: secretKey is an entry of secrets.existingSecret, which is not set: set value" .name) -}}
{{- end -}}
{{- end -}}
{{- if and $own .Values.redis.secretKey -}}
{{- fail "redis.secretKey is an entry of secrets.existingSecret, which is not set: set redis.value" -}}
{{- end -}}
{{- if and (or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled) (not .Values.redis.urls) -}}
{{- fail "several gates need redis.urls: without it each would enforce every limit by itself" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: name the host, or the gate would answer for every one" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the Gateway" -}}
{{- end -}}
{{- if eq (int .Values.ports.gate) (int .Values.ports.admin) -}}
{{- fail "ports.gate and ports.admin are the same: metrics would be public" -}}
{{- end -}}
{{- end -}}
