{{/* The prefix of all names: the release's name when that contains "sluice". */}}
{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "sluice" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-sluice" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object; the argument is (list $ "component"). */}}
{{- define "sluice.labels" -}}
{{- $root := index . 0 -}}
{{- include "sluice.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: sluice
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels that select a component's pods; the argument is (list $ "component"). */}}
{{- define "sluice.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- .Values.operator.serviceAccount.name | default (printf "%s-operator" (include "sluice.fullname" .)) -}}
{{- end -}}

{{/* The user as whom the operator writes. */}}
{{- define "sluice.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "sluice.serviceAccountName" . }}
{{- end -}}

{{/* An image reference; the argument is (list $ .Values.x.image). */}}
{{- define "sluice.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Resources of a container as a CEL object; the argument is (list "CEL type" resources). */}}
{{- define "sluice.celResources" -}}
{{- $type := index . 0 -}}
{{- $resources := index . 1 -}}
{{ $type }}.resources{
{{- $first := true }}
{{- range $kind := list "requests" "limits" }}
{{- with index $resources $kind }}
{{- if not $first }},{{ end }}{{ $first = false }}
  {{ $kind }}: { {{- range $i, $name := keys . | sortAlpha }}{{ if $i }}, {{ end }}{{ $name | quote }}: {{ index (index $resources $kind) $name | toString | quote }}{{ end }} }
{{- end }}
{{- end }}
}
{{- end -}}
