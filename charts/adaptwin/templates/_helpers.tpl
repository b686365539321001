{{/* Names of what is installed begin with this. */}}
{{- define "adaptwin.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "adaptwin.operatorName" -}}
{{- printf "%s-operator" (include "adaptwin.fullname" .) -}}
{{- end -}}

{{- define "adaptwin.serviceAccountName" -}}
{{- default (include "adaptwin.operatorName" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Cluster-wide objects carry the namespace too, so that two installations never meet. */}}
{{- define "adaptwin.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "adaptwin.operatorName" .) -}}
{{- end -}}

{{- define "adaptwin.selectorLabels" -}}
app.kubernetes.io/name: adaptwin
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "adaptwin.labels" -}}
{{ include "adaptwin.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: adaptwin
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "adaptwin.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "adaptwin.subjects" -}}
- kind: ServiceAccount
  name: {{ include "adaptwin.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* What the operator may do where AdapterDeployments are served. No secrets, no wildcards. */}}
{{- define "adaptwin.rules" -}}
- apiGroups: [adaptwin.io]
  resources: [adapterdeployments]
  verbs: [get, list, watch]
- apiGroups: [adaptwin.io]
  resources: [adapterdeployments/status]
  verbs: [patch]
# Only where the API server demands it of who sets blocking owner references.
- apiGroups: [adaptwin.io]
  resources: [adapterdeployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Applied, and deleted by the garbage collector with their owner.
- apiGroups: [""]
  resources: [services]
  verbs: [create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
