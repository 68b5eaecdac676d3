{{/* Made by `npm run generate` from packages/dev/src/chart/pages.ts. Do not edit. */}}
{{- define "margay.kinds" -}}
[ippools, ipreservations, bgpconfigurations, bgppeers, bgpfilters, hostendpoints, networkpolicies, globalnetworkpolicies, stagednetworkpolicies, stagedglobalnetworkpolicies, stagedkubernetesnetworkpolicies, tiers, networksets, globalnetworksets, ipamconfigurations, felixconfigurations]
{{- end }}
