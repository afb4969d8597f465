{{- define "pine-gate.caddyfile" -}}
{{- if .Values.gate.caddyfile -}}
{{ .Values.gate.caddyfile }}
{{- else -}}
{{- $secrets := "/etc/pine-gate/secrets" -}}
# Made by the chart; a change of it restarts the pods.

# Caddy does not treat these headers as credentials; keep them out of its logs.
(redacted) {
	format filter {
		request>headers>X-Api-Key delete
		request>headers>Api-Key delete
		request>headers>X-Goog-Api-Key delete
		request>uri regexp (?i)([?&;][^=&;]*(key|token|auth|%)[^=&;]*=)[^&;]* ${1}REDACTED
	}
}

{
	admin localhost:2019
	persist_config off
	shutdown_delay {{ .Values.shutdown.delaySeconds }}s
	grace_period {{ .Values.shutdown.graceSeconds }}s

	log {
		import redacted
	}

	servers {
		{{- with .Values.gate.trustedProxies }}
		trusted_proxies static {{ join " " . }}
		trusted_proxies_strict
		{{- end }}
		timeouts {
			read_header 10s
			read_body 2m
			read_body_idle 30s
			write_idle 1m
			idle 5m
		}
		max_header_size 16KiB
		0rtt off
	}

	pinegate {
		{{- if .Values.redis.urls }}
		store redis {{ join " " .Values.redis.urls }} {
			outage {{ .Values.redis.outage }}
			journal /data/pinegate
			{{- with .Values.redis.username }}
			username {{ . }}
			{{- end }}
			{{- if or .Values.redis.value .Values.redis.secretKey }}
			password {file.{{ $secrets }}/{{ default "redis-password" .Values.redis.secretKey }}}
			{{- end }}
			{{- with .Values.redis.extra }}
			{{- . | trim | nindent 3 | replace "\n   " "\n\t\t\t" }}
			{{- end }}
		}
		{{- else }}
		store file /data/pinegate
		{{- end }}
		{{- with .Values.gate.globalExtra }}
		{{- . | trim | nindent 2 | replace "\n  " "\n\t\t" }}
		{{- end }}
	}
}

http://:{{ .Values.ports.gate }} {
	{{- if .Values.gate.accessLog }}
	log {
		import redacted
	}
	{{- end }}

	pinegate {
		admin_key {file.{{ $secrets }}/admin-key}
		{{- range .Values.gate.keys }}
		key {{ .id }} {{ if .sha256 }}{{ .sha256 }}{{ else }}{file.{{ $secrets }}/{{ default (printf "key-%s" .id) .secretKey }}}{{ end }}
		{{- with .config }} {
			{{- . | trim | nindent 3 | replace "\n   " "\n\t\t\t" }}
		}
		{{- end }}
		{{- end }}
		{{- with .Values.gate.extra }}
		{{- . | trim | nindent 2 | replace "\n  " "\n\t\t" }}
		{{- end }}
		{{- range .Values.gate.backends }}
		backend {{ .name }}{{ range .upstreams }} {{ . }}{{ end }} {
			{{- if or .value .secretKey }}
			api_key {file.{{ $secrets }}/{{ default (printf "backend-%s" .name) .secretKey }}}
			{{- end }}
			{{- with .config }}
			{{- . | trim | nindent 3 | replace "\n   " "\n\t\t\t" }}
			{{- end }}
		}
		{{- end }}
	}
}

# Usage, health and metrics, for whoever holds the admin key: never public.
http://:{{ .Values.ports.admin }} {
	pinegate_admin {
		admin_key {file.{{ $secrets }}/admin-key}
	}
}
{{- end -}}
{{- end -}}
