{{/* Names, labels, and the parts that several pods share. */}}

{{- define "portcullis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "portcullis.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "portcullis.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "portcullis.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.instance" -}}
app.kubernetes.io/name: {{ include "portcullis.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.instance" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels by which the pods of one component are selected: root, component. */}}
{{- define "portcullis.selector" -}}
{{ include "portcullis.instance" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "portcullis.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.serviceAccountName" -}}
{{- default (include "portcullis.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What every pod's specification begins with. */}}
{{- define "portcullis.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
# Somebody has to take leave of what a killed parser leaves behind; that is not the process that answers.
shareProcessNamespace: true
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.podSecurity.runAsUser }}
  runAsGroup: {{ .Values.podSecurity.runAsGroup }}
  fsGroup: {{ .Values.podSecurity.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "portcullis.container" -}}
image: {{ include "portcullis.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Where pods go: root, of (the values of one component). */}}
{{- define "portcullis.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Constraints of one component with the selector of its own pods: root, component, constraints. */}}
{{- define "portcullis.spread" -}}
{{- if .constraints }}
topologySpreadConstraints:
  {{- range .constraints }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "portcullis.selector" (dict "root" $.root "component" $.component) | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The environment that gateway and worker share: addresses and names; every secret is a file. */}}
{{- define "portcullis.environment" -}}
- {name: PORTCULLIS_TENANT, value: {{ .Values.tenant | quote }}}
- {name: PORTCULLIS_DATA, value: /data}
- {name: PORTCULLIS_BACKGROUND, value: "false"}
- {name: PORTCULLIS_PUBLIC_URL, value: {{ .Values.publicUrl | quote }}}
{{- with .Values.company }}
- {name: PORTCULLIS_COMPANY, value: {{ . | quote }}}
{{- end }}
- {name: PORTCULLIS_VERIFIER_KEY, value: {{ .Values.signer.verifierKey | quote }}}
- {name: PORTCULLIS_DATABASE_URL_FILE, value: /run/secrets/portcullis/database-url}
- {name: PORTCULLIS_DIGEST_KEY_FILE, value: /run/secrets/portcullis/digest-key}
- {name: PORTCULLIS_OPENSEARCH_URL, value: {{ .Values.opensearch.urls | toJson | quote }}}
{{- if eq .Values.opensearch.authentication "password" }}
- {name: PORTCULLIS_OPENSEARCH_USER, value: {{ .Values.opensearch.user | quote }}}
- {name: PORTCULLIS_OPENSEARCH_PASSWORD_FILE, value: /run/secrets/portcullis/opensearch-password}
{{- else if eq .Values.opensearch.authentication "token" }}
- {name: PORTCULLIS_OPENSEARCH_TOKEN_FILE, value: /run/secrets/portcullis/opensearch-token}
{{- else }}
- {name: PORTCULLIS_OPENSEARCH_CERT_FILE, value: /run/secrets/portcullis/opensearch-client.crt}
- {name: PORTCULLIS_OPENSEARCH_KEY_FILE, value: /run/secrets/portcullis/opensearch-client.key}
{{- end }}
{{- if .Values.opensearch.caConfigMap }}
- {name: PORTCULLIS_OPENSEARCH_CA_FILE, value: /etc/portcullis/opensearch-ca.crt}
{{- end }}
- {name: PORTCULLIS_OIDC_ISSUER, value: {{ .Values.oidc.issuer | quote }}}
- {name: PORTCULLIS_OIDC_AUDIENCE, value: {{ .Values.oidc.audience | quote }}}
- {name: PORTCULLIS_OIDC_CLIENT_ID, value: {{ .Values.oidc.clientId | quote }}}
{{- if include "portcullis.policyItems" . }}
- {name: PORTCULLIS_POLICIES, value: /policies}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ printf "PORTCULLIS_%s" (upper $name) }}, value: {{ include "portcullis.scalar" $value | quote }}}
{{- end }}
{{- end -}}

{{/* What only the gateway is told: how it proves itself to the issuer, and where the model is. A worker takes strangers' files apart. */}}
{{- define "portcullis.gatewayEnvironment" -}}
{{- if .Values.oidc.existingSecret }}
- {name: PORTCULLIS_OIDC_CLIENT_SECRET_FILE, value: /run/secrets/portcullis/oidc-client-secret}
{{- end }}
{{- if .Values.llm.baseUrl }}
- {name: PORTCULLIS_LLM_BASE_URL, value: {{ .Values.llm.baseUrl | quote }}}
- {name: PORTCULLIS_LLM_MODEL, value: {{ .Values.llm.model | quote }}}
- {name: PORTCULLIS_LLM_IS_EXTERNAL, value: {{ .Values.llm.isExternal | quote }}}
{{- if .Values.llm.allowsHttp }}
- {name: PORTCULLIS_LLM_ALLOWS_HTTP, value: "true"}
{{- end }}
{{- if .Values.llm.existingSecret }}
- {name: PORTCULLIS_LLM_API_KEY_FILE, value: /run/secrets/portcullis/llm-api-key}
{{- end }}
{{- end }}
{{- end -}}

{{/* A value as an environment variable holds it: lists as JSON, whole numbers without an exponent. */}}
{{- define "portcullis.scalar" -}}
{{- if kindIs "slice" . -}}
{{- toJson . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* The secrets that gateway and worker share, as one folder of files; `portcullis.gatewaySecrets` goes on with the gateway's own. */}}
{{- define "portcullis.secrets" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret: {name: {{ .Values.database.existingSecret | quote }}, items: [{key: {{ .Values.database.gatewayUrlKey | quote }}, path: database-url}]}
      - secret: {name: {{ .Values.digestKey.existingSecret | quote }}, items: [{key: {{ .Values.digestKey.key | quote }}, path: digest-key}]}
      {{- with .Values.opensearch }}
      {{- if eq .authentication "password" }}
      - secret: {name: {{ .existingSecret | quote }}, items: [{key: {{ .passwordKey | quote }}, path: opensearch-password}]}
      {{- else if eq .authentication "token" }}
      - secret: {name: {{ .existingSecret | quote }}, items: [{key: {{ .tokenKey | quote }}, path: opensearch-token}]}
      {{- else if eq .authentication "certificate" }}
      - secret:
          name: {{ .existingSecret | quote }}
          items: [{key: {{ .certificateKey | quote }}, path: opensearch-client.crt}, {key: {{ .privateKeyKey | quote }}, path: opensearch-client.key}]
      {{- end }}
      {{- end }}
{{- end -}}

{{- define "portcullis.gatewaySecrets" -}}
      {{- if .Values.oidc.existingSecret }}
      - secret: {name: {{ .Values.oidc.existingSecret | quote }}, items: [{key: {{ .Values.oidc.clientSecretKey | quote }}, path: oidc-client-secret}]}
      {{- end }}
      {{- if and .Values.llm.baseUrl .Values.llm.existingSecret }}
      - secret: {name: {{ .Values.llm.existingSecret | quote }}, items: [{key: {{ .Values.llm.apiKeyKey | quote }}, path: llm-api-key}]}
      {{- end }}
{{- end -}}

{{- define "portcullis.mounts" -}}
- {name: secrets, mountPath: /run/secrets/portcullis, readOnly: true}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- include "portcullis.trustMount" . }}
{{- if .Values.opensearch.caConfigMap }}
- {name: opensearch-ca, mountPath: /etc/portcullis/opensearch-ca.crt, subPath: {{ .Values.opensearch.caKey | quote }}, readOnly: true}
{{- end }}
{{- /* File by file: a mounted ConfigMap as a folder holds everything twice, under names that are none of the policy's. */}}
{{- range (include "portcullis.policyItems" . | fromYamlArray) }}
- {name: policies, mountPath: {{ printf "/policies/%s" .path | quote }}, subPath: {{ .key | quote }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* Volumes of a pod: root, component. */}}
{{- define "portcullis.volumes" -}}
{{- $isGateway := eq .component "gateway" -}}
{{- with .root -}}
{{ include "portcullis.secrets" . }}
{{- if $isGateway }}
{{- include "portcullis.gatewaySecrets" . }}
{{- end }}
{{ include "portcullis.scratch" . }}
{{- include "portcullis.trustVolume" . }}
{{- if .Values.opensearch.caConfigMap }}
- {name: opensearch-ca, configMap: {name: {{ .Values.opensearch.caConfigMap | quote }}}}
{{- end }}
{{- if include "portcullis.policyItems" . }}
- {name: policies, configMap: {name: {{ include "portcullis.policyConfigMap" . | quote }}}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "portcullis.scratch" -}}
- {name: data, emptyDir: {medium: Memory, sizeLimit: {{ .Values.scratch.dataSize | quote }}}}
- {name: tmp, emptyDir: {medium: Memory, sizeLimit: {{ .Values.scratch.tmpSize | quote }}}}
{{- end -}}

{{- define "portcullis.trustMount" -}}
{{- if .Values.trust.configMap }}
- {name: trust, mountPath: /etc/ssl/certs/ca-certificates.crt, subPath: {{ .Values.trust.key | quote }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "portcullis.trustVolume" -}}
{{- if .Values.trust.configMap }}
- {name: trust, configMap: {name: {{ .Values.trust.configMap | quote }}}}
{{- end }}
{{- end -}}

{{/* Keys of the policy's ConfigMap and the paths they stand for; nothing where the image's policy is in force. */}}
{{- define "portcullis.policyItems" -}}
{{- if .Values.policies.existingConfigMap -}}
{{- toYaml .Values.policies.items -}}
{{- else if .Values.policies.files -}}
{{- range $path, $_ := .Values.policies.files }}
- {key: {{ $path | replace "/" "__" | quote }}, path: {{ $path | quote }}}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "portcullis.policyConfigMap" -}}
{{- default (printf "%s-policies" (include "portcullis.fullname" .)) .Values.policies.existingConfigMap -}}
{{- end -}}

{{/* Whether gateway and worker run. */}}
{{- define "portcullis.isOpen" -}}
{{- if not .Values.bootstrap }}yes{{ end -}}
{{- end -}}
