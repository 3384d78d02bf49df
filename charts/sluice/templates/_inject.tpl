{{/*
The injected containers as CEL objects. A policy knows the types of Object in its mutations only, not in its
variables, so these are written where they are used.
*/}}

{{/* Sets up the capture of the pod's connections and exits. */}}
{{- define "sluice.celRedirect" -}}
{{- $type := "Object.spec.initContainers" -}}
{{ $type }}{
  name: "sluice-redirect",
  image: {{ include "sluice.image" (list . .Values.proxy.image) | quote }},
  imagePullPolicy: {{ .Values.proxy.image.pullPolicy | quote }},
  command: ["/proxy", "redirect"],
  env: [
    {{ $type }}.env{name: "POD_IP", valueFrom: {{ $type }}.env.valueFrom{fieldRef: {{ $type }}.env.valueFrom.fieldRef{fieldPath: "status.podIP"}}},
    {{ $type }}.env{name: "HOST_IP", valueFrom: {{ $type }}.env.valueFrom{fieldRef: {{ $type }}.env.valueFrom.fieldRef{fieldPath: "status.hostIP"}}}
  ],
  securityContext: {{ $type }}.securityContext{
    runAsUser: 0,
    runAsGroup: 0,
    runAsNonRoot: false,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    privileged: false,
    capabilities: {{ $type }}.securityContext.capabilities{
      add: ["NET_ADMIN"],
      drop: ["ALL"]
    },
    seccompProfile: {{ $type }}.securityContext.seccompProfile{type: "RuntimeDefault"}
  },
  resources: {{ include "sluice.celResources" (list $type .Values.proxy.resources) | nindent 2 | trim }}
}
{{- end -}}

{{/* The proxy, a native sidecar. */}}
{{- define "sluice.celProxy" -}}
{{- $type := "Object.spec.initContainers" -}}
{{ $type }}{
  name: "sluice-proxy",
  image: {{ include "sluice.image" (list . .Values.proxy.image) | quote }},
  imagePullPolicy: {{ .Values.proxy.image.pullPolicy | quote }},
  command: ["/proxy", "run"],
  restartPolicy: "Always",
  env: [
    {{ $type }}.env{name: "SLUICE_XDS_ADDRESS", value: {{ printf "%s-xds.%s.svc.%s:15010" (include "sluice.fullname" .) .Release.Namespace .Values.clusterDomain | quote }}},
    {{ $type }}.env{name: "SLUICE_SOURCE", value: variables.source},
    {{ $type }}.env{name: "SLUICE_DRAIN", value: {{ .Values.proxy.drain | quote }}},
    {{ $type }}.env{name: "GOMEMLIMIT", value: {{ .Values.proxy.goMemoryLimit | quote }}},
    {{ $type }}.env{name: "GOMAXPROCS", value: {{ .Values.proxy.goMaxProcs | toString | quote }}},
    {{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_UID" "metadata.uid" "POD_IP" "status.podIP" "HOST_IP" "status.hostIP" "SLUICE_REVISION" "metadata.labels['pod-template-hash']" "SLUICE_ZONE" "metadata.labels['topology.kubernetes.io/zone']" }}
    {{ $type }}.env{name: {{ $name | quote }}, valueFrom: {{ $type }}.env.valueFrom{fieldRef: {{ $type }}.env.valueFrom.fieldRef{fieldPath: {{ $path | quote }}}}}{{ if ne $name "SLUICE_ZONE" }},{{ end }}
    {{- end }}
  ],
  ports: [
    {{ $type }}.ports{name: "sluice-metrics", containerPort: 15020, protocol: "TCP"}
  ],
  securityContext: {{ $type }}.securityContext{
    runAsUser: 15099,
    runAsGroup: 15099,
    runAsNonRoot: true,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    privileged: false,
    capabilities: {{ $type }}.securityContext.capabilities{drop: ["ALL"]},
    seccompProfile: {{ $type }}.securityContext.seccompProfile{type: "RuntimeDefault"}
  },
  startupProbe: {{ $type }}.startupProbe{
    httpGet: {{ $type }}.startupProbe.httpGet{path: "/startup", port: 15020},
    periodSeconds: 1,
    timeoutSeconds: 1,
    failureThreshold: {{ .Values.proxy.startupSeconds | int }}
  },
  readinessProbe: {{ $type }}.readinessProbe{
    httpGet: {{ $type }}.readinessProbe.httpGet{path: "/ready", port: 15020},
    periodSeconds: 2,
    timeoutSeconds: 2,
    failureThreshold: 3
  },
  volumeMounts: [
    {{ $type }}.volumeMounts{name: "sluice-state", mountPath: "/var/lib/sluice"}
  ],
  resources: {{ include "sluice.celResources" (list $type .Values.proxy.resources) | nindent 2 | trim }}
}
{{- end -}}
