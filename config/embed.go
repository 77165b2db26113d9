// Package config holds the manifests of the hub and of the agent, as kustomize bases, for the command line to install.
package config

import "embed"

// FS holds kustomization.yaml at its root and every base that it names, the one for the Prometheus operator, and the base
// of the agent, which goes to edges; samples are left out.
//
//go:embed kustomization.yaml crd rbac apply hub agent
//go:embed monitoring/*.yaml monitoring/dashboard.json
var FS embed.FS
