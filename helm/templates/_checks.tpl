{{/* What a schema cannot say: a message for each thing that is missing, before anything is made. */}}
{{- define "portcullis.checks" -}}
{{- $needs := list
  (list .Values.image.repository "image.repository: name the registry and repository that you pushed the image to")
  (list .Values.tenant "tenant: name the tenant; its log is called after it and keeps the name")
  (list .Values.database.existingSecret "database.existingSecret: name a Secret with the database addresses of the gateway and the signer")
  (list .Values.database.ownerSecret "database.ownerSecret: name a Secret with the database address of the owner, for migrations")
-}}
{{- if .Values.networkPolicy.enabled -}}
{{- $needs = append $needs (list .Values.networkPolicy.database.to "networkPolicy.database.to: say where PostgreSQL is, such as an ipBlock or a namespace") -}}
{{- end -}}
{{- if include "portcullis.isOpen" . -}}
{{- $needs = concat $needs (list
  (list .Values.publicUrl "publicUrl: say the https:// address under which browsers reach the gateway")
  (list .Values.opensearch.urls "opensearch.urls: list the https:// addresses of the OpenSearch nodes")
  (list .Values.oidc.issuer "oidc.issuer: say the https:// address of the OpenID Connect issuer")
  (list .Values.digestKey.existingSecret "digestKey.existingSecret: name a Secret with 32 bytes in base64")
  (list .Values.signer.verifierKey "signer.verifierKey: say the signer's public key; install with bootstrap=true first to learn it (helm/README.md)")
) -}}
{{- $needs = append $needs (list .Values.opensearch.existingSecret "opensearch.existingSecret: name a Secret with what the gateway proves itself with to OpenSearch") -}}
{{- if eq .Values.opensearch.authentication "password" -}}
{{- $needs = append $needs (list .Values.opensearch.user "opensearch.user: name the user, or choose another opensearch.authentication") -}}
{{- end -}}
{{- if .Values.llm.baseUrl -}}
{{- $needs = append $needs (list .Values.llm.model "llm.model: name the model at llm.baseUrl") -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- $needs = append $needs (list .Values.ingress.hosts "ingress.hosts: name at least one host, or turn ingress.enabled off") -}}
{{- $needs = append $needs (list .Values.ingress.tls "ingress.tls: name the Secret with the certificate; answers do not travel in the clear") -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $needs = concat $needs (list
  (list .Values.networkPolicy.ingressFrom "networkPolicy.ingressFrom: say who may reach the gateway, such as the ingress controller's namespace")
  (list .Values.networkPolicy.opensearch.to "networkPolicy.opensearch.to: say where the OpenSearch nodes are")
  (list .Values.networkPolicy.issuer.to "networkPolicy.issuer.to: say where the issuer is, such as an ipBlock")
) -}}
{{- if .Values.serviceMonitor.enabled -}}
{{- $needs = append $needs (list .Values.networkPolicy.metricsFrom "networkPolicy.metricsFrom: say where Prometheus is, or it reaches nothing; or turn serviceMonitor.enabled off") -}}
{{- end -}}
{{- if .Values.llm.baseUrl -}}
{{- $needs = append $needs (list .Values.networkPolicy.llm.to "networkPolicy.llm.to: say where the model endpoint is, such as an ipBlock") -}}
{{- end -}}
{{- end -}}
{{- if .Values.policies.existingConfigMap -}}
{{- $needs = append $needs (list .Values.policies.items "policies.items: say which key of the ConfigMap is which file of the policy") -}}
{{- end -}}
{{- end -}}
{{- $missing := list -}}
{{- range $needs -}}
{{- if not (first .) -}}{{- $missing = append $missing (last .) -}}{{- end -}}
{{- end -}}
{{- if $missing -}}
{{- fail (printf "\n\nPortcullis cannot be installed with these values:\n- %s\n" (join "\n- " $missing)) -}}
{{- end -}}
{{- if and .Values.signer.verifierKey (not (hasPrefix (printf "portcullis/%s+" .Values.tenant) .Values.signer.verifierKey)) -}}
{{- fail (printf "\n\nsigner.verifierKey is not the key of portcullis/%s: take what `portcullis signer --show-key` prints for this tenant.\n" .Values.tenant) -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- $covered := list -}}
{{- range .Values.ingress.tls -}}
{{- if .secretName -}}{{- $covered = concat $covered .hosts -}}{{- end -}}
{{- end -}}
{{- range .Values.ingress.hosts -}}
{{- if not (or (has .host $covered) (has (regexReplaceAll "^[^.]+" .host "*") $covered)) -}}
{{- fail (printf "\n\ningress.tls covers no %s: list that host in an entry with a secretName; answers do not travel in the clear.\n" .host) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (hasPrefix "http://" .Values.llm.baseUrl) (not .Values.llm.allowsHttp) -}}
{{- if not (regexMatch "^http://(localhost|127(\\.[0-9]+){3}|\\[::1\\]|[-a-z0-9.]+\\.svc(\\.cluster\\.local)?)(:[0-9]+)?(/|$)" .Values.llm.baseUrl) -}}
{{- fail "\n\nllm.baseUrl: questions and passages would travel in clear. Use https, a name inside the cluster (NAME.NAMESPACE.svc), or say llm.allowsHttp=true.\n" -}}
{{- end -}}
{{- end -}}
{{- range $component := list "gateway" "worker" "signer" -}}
{{- range $label, $_ := (index $.Values $component).podLabels -}}
{{- if hasPrefix "app.kubernetes.io/" $label -}}
{{- fail (printf "\n\n%s.podLabels sets %s: by labels of that kind services and network policies choose pods. Take another name.\n" $component $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.ingress.hosts -}}
{{- range .paths -}}
{{- if and $.Values.ingress.closeMetrics (hasPrefix "/metrics" .path) -}}
{{- fail "\n\ningress.hosts leads to /metrics, which needs no token: leave that path out, or say ingress.closeMetrics=false.\n" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.policies.existingConfigMap .Values.policies.files -}}
{{- fail "\n\npolicies.files and policies.existingConfigMap exclude each other.\n" -}}
{{- end -}}
{{- if and .Values.gateway.autoscaling.enabled (gt (int .Values.gateway.autoscaling.minReplicas) (int .Values.gateway.autoscaling.maxReplicas)) -}}
{{- fail "\n\ngateway.autoscaling.minReplicas is greater than maxReplicas.\n" -}}
{{- end -}}
{{- if le (int .Values.gateway.terminationGracePeriodSeconds) (add 10 .Values.gateway.preStopSeconds | int) -}}
{{- fail "\n\ngateway.terminationGracePeriodSeconds leaves less than ten seconds after gateway.preStopSeconds to finish what is being answered.\n" -}}
{{- end -}}
{{- end -}}
