{{- define "aimq.labels" -}}
app.kubernetes.io/part-of: aimq
{{- end }}

{{- define "aimq.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "aimq.secret" -}}
{{ .Values.secrets.existing | default "aimq" }}
{{- end }}
