{{/* Flags by which the operator reaches Prometheus, besides its address. */}}
{{- define "sluice.prometheusArgs" -}}
{{- $c := .Values.prometheus.connection -}}
{{- $files := "/var/run/sluice/prometheus" -}}
- --prometheus-timeout={{ $c.timeout }}
{{- if $c.caSecret.name }}
- --prometheus-ca={{ $files }}/ca.crt
{{- end }}
{{- if $c.clientCertificateSecret.name }}
- --prometheus-cert={{ $files }}/tls.crt
- --prometheus-key={{ $files }}/tls.key
{{- end }}
{{- with $c.serverName }}
- --prometheus-server-name={{ . }}
{{- end }}
{{- if $c.insecureSkipVerify }}
- --prometheus-insecure
{{- end }}
{{- if $c.bearerTokenSecret.name }}
- --prometheus-bearer-token-file={{ $files }}/token
{{- end }}
{{- if $c.basicAuthSecret.name }}
- --prometheus-username-file={{ $files }}/username
- --prometheus-password-file={{ $files }}/password
{{- end }}
{{- range $name, $value := $c.headers }}
- {{ printf "--prometheus-header=%s=%s" $name $value | quote }}
{{- end }}
{{- end -}}

{{/* The Secrets behind those flags, as sources of one volume; empty: none. */}}
{{- define "sluice.prometheusFiles" -}}
{{- $c := .Values.prometheus.connection -}}
{{- with $c.caSecret }}{{ if .name }}
{{ include "sluice.secretFiles" (list .name (dict .key "ca.crt")) }}
{{- end }}{{ end }}
{{- with $c.clientCertificateSecret.name }}
{{ include "sluice.secretFiles" (list . (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) }}
{{- end }}
{{- with $c.bearerTokenSecret }}{{ if .name }}
{{ include "sluice.secretFiles" (list .name (dict .key "token")) }}
{{- end }}{{ end }}
{{- with $c.basicAuthSecret.name }}
{{ include "sluice.secretFiles" (list . (dict "username" "username" "password" "password")) }}
{{- end }}
{{- end -}}

{{/* One Secret as a source of a volume; the argument is (list "name" (dict "key" "file")). */}}
{{- define "sluice.secretFiles" -}}
- secret:
    name: {{ index . 0 }}
    items:
      {{- range $key, $file := index . 1 }}
      - key: {{ $key }}
        path: {{ $file }}
      {{- end }}
{{- end -}}
