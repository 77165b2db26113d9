// Package config holds the manifests of the hub, as kustomize bases, for the command line to install.
package config

import "embed"

// FS holds kustomization.yaml at its root and every base that it names; samples are left out.
//
//go:embed kustomization.yaml crd rbac apply hub
var FS embed.FS
