{{/* Labels of everything; "component" is one of node, controllers, etcd, test, cleanup. */}}
{{- define "margay.labels" -}}
app.kubernetes.io/name: margay
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* What selects a component's pods: never changes. */}}
{{- define "margay.selector" -}}
app.kubernetes.io/name: margay
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "margay.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "margay.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where and when a pod runs: nodeSelector, tolerations, affinity, priority. */}}
{{- define "margay.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "margay.etcdEndpoints" -}}
{{- if eq .Values.etcd.mode "external" -}}
{{ join "," .Values.etcd.external.endpoints }}
{{- else -}}
{{- $urls := list -}}
{{- range .Values.etcd.bundled.clusterIPs -}}
{{- $host := ternary (printf "[%s]" .) . (contains ":" .) -}}
{{- $urls = append $urls (printf "https://%s:%v" $host $.Values.etcd.bundled.clientPort) -}}
{{- end -}}
{{ join "," $urls }}
{{- end -}}
{{- end }}

{{/* The Secret with ca.crt, tls.crt, tls.key for clients of etcd; empty for none. */}}
{{- define "margay.etcdTlsSecret" -}}
{{- if eq .Values.etcd.mode "external" -}}
{{ .Values.etcd.external.tlsSecret }}
{{- else -}}
margay-etcd-client
{{- end -}}
{{- end }}

{{/* Environment of whoever talks to etcd. */}}
{{- define "margay.etcdEnv" -}}
- name: MARGAY_ETCD_ENDPOINTS
  value: {{ include "margay.etcdEndpoints" . | quote }}
{{- if include "margay.etcdTlsSecret" . }}
- name: MARGAY_ETCD_CA
  value: /etc/margay/etcd/ca.crt
{{- if include "margay.etcdClientCertificate" . }}
- name: MARGAY_ETCD_CERT
  value: /etc/margay/etcd/tls.crt
- name: MARGAY_ETCD_KEY
  value: /etc/margay/etcd/tls.key
{{- end }}
{{- end }}
{{- with .Values.etcd.external.authSecret }}
{{- if eq $.Values.etcd.mode "external" }}
- name: MARGAY_ETCD_USERNAME
  valueFrom: { secretKeyRef: { name: {{ . }}, key: username } }
- name: MARGAY_ETCD_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ . }}, key: password } }
{{- end }}
{{- end }}
{{- end }}

{{/* Whether clients show a certificate. */}}
{{- define "margay.etcdClientCertificate" -}}
{{- if or (eq .Values.etcd.mode "bundled") (and .Values.etcd.external.tlsSecret .Values.etcd.external.clientCertificate) -}}
true
{{- end -}}
{{- end }}

{{- define "margay.etcdMount" -}}
{{- if include "margay.etcdTlsSecret" . }}
- name: etcd-tls
  mountPath: /etc/margay/etcd
  readOnly: true
{{- end }}
{{- end }}

{{- define "margay.etcdVolume" -}}
{{- with include "margay.etcdTlsSecret" . }}
- name: etcd-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "margay.metricsAddress" -}}
{{ ternary "0.0.0.0" .Values.metrics.address .Values.metrics.podMonitor.enabled }}
{{- end }}

{{/* Where the kubelet asks for health: pods are on the node's network. */}}
{{- define "margay.probes" -}}
{{- $host := include "margay.metricsAddress" .root -}}
{{- $host = ternary "127.0.0.1" $host (has $host (list "0.0.0.0" "::")) -}}
startupProbe:
  httpGet: { host: {{ $host | quote }}, path: /healthz, port: {{ .port }} }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { host: {{ $host | quote }}, path: /healthz, port: {{ .port }} }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { host: {{ $host | quote }}, path: /readyz, port: {{ .port }} }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* Nothing that a process of ours does not need. */}}
{{- define "margay.confined" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Secrets with passwords of BGP sessions, as JSON: what bgpPeers, bgpConfiguration and node.bgpd.secrets name. */}}
{{- define "margay.bgpSecrets" -}}
{{- $names := .Values.node.bgpd.secrets -}}
{{- range append .Values.bgpPeers (dict "password" .Values.bgpConfiguration.nodeMeshPassword) -}}
{{- with dig "secretKeyRef" "name" "" (.password | default dict) -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{ $names | uniq | toJson }}
{{- end }}

{{/* What lies in the members' data, on the StatefulSet and on the CA, which stays: checks.yaml asks. */}}
{{- define "margay.etcdData" -}}
margay.dev/data: {{ include "margay.etcdPlaces" . | quote }}
margay.dev/restored-from: {{ .Values.etcd.bundled.restoreFrom | quote }}
{{- end }}

{{- define "margay.etcdPlaces" -}}
{{- with .Values.etcd.bundled -}}
{{ len .clusterIPs }} in {{ if eq .storage.type "claim" }}claims{{ else }}{{ .storage.hostPath }} of {{ .nodeName }}{{ end }}
{{- end -}}
{{- end }}

{{/* Each holds a port of its node: on the one node of a small cluster a second would wait for ever. */}}
{{- define "margay.replicas" -}}
{{- $nodes := len (dig "items" list (lookup "v1" "Node" "" "" | default dict)) -}}
{{- if eq $nodes 1 -}}1{{- else -}}{{ .Values.controllers.replicas }}{{- end -}}
{{- end }}
