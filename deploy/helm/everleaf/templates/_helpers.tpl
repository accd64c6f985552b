{{- define "everleaf.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "everleaf.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "everleaf.labels" -}}
{{ include "everleaf.selectorLabels" . }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "everleaf.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "everleaf.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name must name one when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What the rights are called: by the mode, since one replaces the other. */}}
{{- define "everleaf.role" -}}
{{- printf "%s:%s" (include "everleaf.fullname" .) (eq .Values.mode "controllers" | ternary "controllers" "kubelet-serving-approver") -}}
{{- end -}}

{{- define "everleaf.controllers" -}}
{{- eq .Values.mode "controllers" | ternary (join "," .Values.controllers) "kubelet-serving-approver" -}}
{{- end -}}

{{/* "true" when this controller runs: include "everleaf.runs" (list . "csrsigning") */}}
{{- define "everleaf.runs" -}}
{{- $list := splitList "," (include "everleaf.controllers" (index . 0)) -}}
{{- range $name := rest . -}}
{{- if has $name $list -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "everleaf.lease" -}}
{{- default (eq .Values.mode "controllers" | ternary "everleaf-controllers" "everleaf-kubelet-serving-approver") .Values.leaderElection.leaseName -}}
{{- end -}}

{{/* "true" when a policy asks the API server about permissions. */}}
{{- define "everleaf.asksForPermissions" -}}
{{- range .Values.policy.policy -}}{{- if .require_permission -}}true{{- end -}}{{- end -}}
{{- end -}}

{{/* The signers whose CA is published, with commas. */}}
{{- define "everleaf.trustBundles" -}}
{{- $signers := eq .Values.mode "controllers" | ternary .Values.ca.trustBundles list -}}
{{- if include "everleaf.runs" (list . "kube-apiserver-serving-clustertrustbundle-publisher-controller") -}}
{{- $signers = append $signers "kubernetes.io/kube-apiserver-serving" -}}
{{- end -}}
{{- if and (include "everleaf.runs" (list . "pod-certificate-signer")) .Values.podCertificates.publishTrustBundle -}}
{{- $signers = append $signers (include "everleaf.podSigner" .) -}}
{{- end -}}
{{- join ", " $signers -}}
{{- end -}}

{{/* The name of the signer of pod certificates. */}}
{{- define "everleaf.podSigner" -}}
{{- required "podCertificates.signerName must name the signer, as in example.com/pods" .Values.podCertificates.signerName -}}
{{- end -}}
