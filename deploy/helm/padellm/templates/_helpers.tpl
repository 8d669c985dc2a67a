{{- define "padellm.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that select the pods of a part: (list $ "worker"). They never change. */}}
{{- define "padellm.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "padellm.labels" -}}
{{ include "padellm.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{/* What both kinds of pod have in common: (list $ "worker" $.Values.worker user). */}}
{{- define "padellm.pod" -}}
{{- $root := index . 0 }}{{ $component := index . 1 }}{{ $values := index . 2 }}{{ $user := index . 3 -}}
serviceAccountName: {{ include "padellm.name" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $user }}
  runAsGroup: {{ $user }}
  # Secrets are readable by this group alone.
  fsGroup: {{ $user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "padellm.selector" (list $root $component) | nindent 8 }}
  {{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "padellm.container" -}}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* A container's variables from a map, each value as text. Helm's numbers are floats: 2000000 would become 2e+06. */}}
{{- define "padellm.variables" -}}
{{- range $name, $value := . }}
{{- if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ $value = int64 $value }}{{ end }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{/* Seconds until a worker is killed: a rebalance may drain while a shutdown begins to. */}}
{{- define "padellm.grace" -}}
{{ add (mul 2 (int .Values.worker.drainLimit)) 15 }}
{{- end }}

{{- define "padellm.tritonUrl" -}}
{{- if eq .Values.triton.backend "external" }}{{ required "triton.backend=external needs triton.externalUrl (host:port, or dns:///name:port)" .Values.triton.externalUrl }}{{ else }}dns:///{{ include "padellm.name" . }}-triton:8001{{ end }}
{{- end }}

{{/* Settings of a worker's connection to Kafka, as a map. */}}
{{- define "padellm.kafka" -}}
{{- $kafka := .Values.kafka -}}
BROKER: {{ $kafka.broker | quote }}
PADELLM_GROUP: {{ $kafka.group | quote }}
PADELLM_DOCUMENTS_TOPIC: {{ $kafka.documentsTopic | quote }}
PADELLM_SECURITY_PROTOCOL: {{ $kafka.securityProtocol }}
{{- if $kafka.saslMechanism }}
PADELLM_SASL_MECHANISM: {{ $kafka.saslMechanism }}
{{- end }}
{{- if $kafka.caSecret }}
PADELLM_SSL_CA_LOCATION: /etc/padellm/kafka-ca/ca.crt
{{- end }}
{{- if $kafka.certificateSecret }}
PADELLM_SSL_CERTIFICATE_LOCATION: /etc/padellm/kafka-certificate/tls.crt
PADELLM_SSL_KEY_LOCATION: /etc/padellm/kafka-certificate/tls.key
{{- end }}
{{- if $kafka.loginSecret }}
PADELLM_SASL_USERNAME_FILE: /etc/padellm/kafka-login/username
PADELLM_SASL_PASSWORD_FILE: /etc/padellm/kafka-login/password
{{- end }}
{{- if $kafka.tokenSecret }}
PADELLM_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: {{ $kafka.tokenEndpointUrl | quote }}
PADELLM_SASL_OAUTHBEARER_CLIENT_ID: {{ $kafka.clientId | quote }}
PADELLM_SASL_OAUTHBEARER_CLIENT_SECRET_FILE: /etc/padellm/kafka-token/client-secret
{{- with $kafka.scope }}
PADELLM_SASL_OAUTHBEARER_SCOPE: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Settings of a worker's connection to a schema registry, as a map. */}}
{{- define "padellm.registry" -}}
{{- $registry := .Values.registry -}}
{{- with $registry.url }}
PADELLM_SCHEMA_REGISTRY_URL: {{ . | quote }}
{{- end }}
{{- if $registry.caSecret }}
PADELLM_SCHEMA_REGISTRY_SSL_CA_LOCATION: /etc/padellm/registry-ca/ca.crt
{{- end }}
{{- if $registry.certificateSecret }}
PADELLM_SCHEMA_REGISTRY_SSL_CERTIFICATE_LOCATION: /etc/padellm/registry-certificate/tls.crt
PADELLM_SCHEMA_REGISTRY_SSL_KEY_LOCATION: /etc/padellm/registry-certificate/tls.key
{{- end }}
{{- if $registry.loginSecret }}
PADELLM_SCHEMA_REGISTRY_USERNAME_FILE: /etc/padellm/registry-login/username
PADELLM_SCHEMA_REGISTRY_PASSWORD_FILE: /etc/padellm/registry-login/password
{{- end }}
{{- end }}

{{/* Settings of a worker's connection to Triton, as a map. */}}
{{- define "padellm.toTriton" -}}
PADELLM_INFERENCE: triton
PADELLM_TRITON_URL: {{ include "padellm.tritonUrl" . | quote }}
{{- if or .Values.triton.serverSecret .Values.triton.caSecret }}
PADELLM_TRITON_SSL: "true"
{{- end }}
{{- if .Values.triton.caSecret }}
PADELLM_TRITON_SSL_CA_LOCATION: /etc/padellm/triton-ca/ca.crt
{{- end }}
{{- if .Values.triton.clientSecret }}
PADELLM_TRITON_SSL_CERTIFICATE_LOCATION: /etc/padellm/triton-client/tls.crt
PADELLM_TRITON_SSL_KEY_LOCATION: /etc/padellm/triton-client/tls.key
{{- end }}
{{- end }}

{{/* The Secrets that a worker mounts, by the folder below /etc/padellm, as a map. */}}
{{- define "padellm.workerSecrets" -}}
kafka-ca: {{ .Values.kafka.caSecret | quote }}
kafka-certificate: {{ .Values.kafka.certificateSecret | quote }}
kafka-login: {{ .Values.kafka.loginSecret | quote }}
kafka-token: {{ .Values.kafka.tokenSecret | quote }}
registry-ca: {{ .Values.registry.caSecret | quote }}
registry-certificate: {{ .Values.registry.certificateSecret | quote }}
registry-login: {{ .Values.registry.loginSecret | quote }}
triton-ca: {{ .Values.triton.caSecret | quote }}
triton-client: {{ .Values.triton.clientSecret | quote }}
{{- end }}

{{/* Mounts and volumes of Secrets, from such a map; without a name there is none. No subPath: files follow their Secret. */}}
{{- define "padellm.secretMounts" -}}
{{- range $folder, $secret := . }}{{ if $secret }}
- {name: {{ $folder }}, mountPath: /etc/padellm/{{ $folder }}, readOnly: true}
{{- end }}{{ end }}
{{- end }}

{{- define "padellm.secretVolumes" -}}
{{- range $folder, $secret := . }}{{ if $secret }}
- name: {{ $folder }}
  secret: {secretName: {{ $secret | quote }}, defaultMode: 0440}
{{- end }}{{ end }}
{{- end }}
