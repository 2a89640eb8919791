{{- /* The pod, the same for both kinds of workload. The ConfigMap is no part of it: its files change under the running
gateway, which follows them. */ -}}
{{- define "penstock.pod" -}}
metadata:
  labels:
    {{- include "penstock.labels" . | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "penstock.account" . }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: penstock
      image: {{ include "penstock.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, /etc/penstock]
      {{- if .Values.env }}
      env:
        {{- range $name, $value := .Values.env }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
      {{- end }}
      {{- if .Values.envFromSecrets }}
      envFrom:
        {{- range .Values.envFromSecrets }}
        - secretRef: { name: {{ . | quote }} }
        {{- end }}
      {{- end }}
      ports:
        {{- range $name, $port := .Values.ports }}
        - { name: {{ $name }}, containerPort: {{ $port }}, protocol: TCP }
        {{- end }}
        - { name: admin, containerPort: {{ .Values.adminPort }}, protocol: TCP }
      # a store that another pod still holds, or that is large, takes its time; after that a hang is a minute's work to find
      startupProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 10
        failureThreshold: 6
      # fails early while it drains, so that no new request is sent here; a target that is down does not fail it
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 3
        failureThreshold: 2
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      volumeMounts:
        # a folder, not single files: those would not follow the ConfigMap
        - { name: routes, mountPath: /etc/penstock, readOnly: true }
        - { name: data, mountPath: /var/lib/penstock }
  volumes:
    - name: routes
      configMap:
        name: {{ include "penstock.name" . }}
    {{- if not .Values.store.enabled }}
    - name: data
      emptyDir: { sizeLimit: 64Mi }
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "penstock.selector" . | nindent 10 }}
{{- end }}
