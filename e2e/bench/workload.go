package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// kind says where objects of one kind are in the API.
type kind struct {
	apiVersion, kind, plural string
}

func (k kind) path(namespace, name string) string {
	prefix := "/apis/"
	if !strings.Contains(k.apiVersion, "/") {
		prefix = "/api/"
	}
	return prefix + k.apiVersion + "/namespaces/" + namespace + "/" + k.plural + "/" + name
}

var (
	serviceAccounts = kind{"v1", "ServiceAccount", "serviceaccounts"}
	deployments     = kind{"apps/v1", "Deployment", "deployments"}
	services        = kind{"v1", "Service", "services"}
	ingresses       = kind{"networking.k8s.io/v1", "Ingress", "ingresses"}
)

// object is one object of the workload.
type object struct {
	kind
	namespace, name string
	body            map[string]any
}

type m = map[string]any

// app returns the four objects of one app, all of which hold the version.
func app(namespace, name, version string) []object {
	selector := m{"app": name}
	of := func(k kind, rest m) object {
		body := m{
			"apiVersion": k.apiVersion, "kind": k.kind,
			"metadata": m{"name": name, "namespace": namespace, "annotations": m{"example.com/version": version}, "labels": selector},
		}
		maps.Copy(body, rest)
		return object{kind: k, namespace: namespace, name: name, body: body}
	}
	container := m{
		"name": "web", "image": "registry.example.com/" + name + ":" + version,
		"ports":     []any{m{"containerPort": 8080, "name": "http"}},
		"resources": m{"requests": m{"cpu": "10m", "memory": "32Mi"}, "limits": m{"memory": "64Mi"}},
	}
	backend := m{"service": m{"name": name, "port": m{"number": 80}}}
	return []object{
		of(serviceAccounts, nil),
		of(deployments, m{"spec": m{
			"replicas": 0,
			"selector": m{"matchLabels": selector},
			"template": m{
				"metadata": m{"labels": selector},
				"spec":     m{"serviceAccountName": name, "containers": []any{container}},
			},
		}}),
		of(services, m{"spec": m{"selector": selector, "ports": []any{m{"port": 80, "targetPort": 8080, "name": "http"}}}}),
		of(ingresses, m{"spec": m{"rules": []any{m{
			"host": name + ".example.com",
			"http": m{"paths": []any{m{"path": "/", "pathType": "Prefix", "backend": backend}}},
		}}}}),
	}
}

func appName(i int) string { return fmt.Sprintf("app-%03d", i) }

// objects returns all objects of n apps.
func objects(namespace string, n int, version string) []object {
	var all []object
	for i := range n {
		all = append(all, app(namespace, appName(i), version)...)
	}
	return all
}

// appFile returns the manifests of one app as a repository holds them.
func appFile(namespace, name, version string) string {
	var b strings.Builder
	for _, o := range app(namespace, name, version) {
		b.WriteString("---\n")
		b.Write(encode(o.body)) // JSON is YAML
		b.WriteString("\n")
	}
	return b.String()
}

// folder returns the files of a folder with n apps and their kustomization.yaml.
func folder(dir, namespace string, n int, version string) map[string]string {
	files := map[string]string{}
	var list strings.Builder
	list.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for i := range n {
		name := appName(i)
		files[dir+"/"+name+".yaml"] = appFile(namespace, name, version)
		list.WriteString("  - " + name + ".yaml\n")
	}
	files[dir+"/kustomization.yaml"] = list.String()
	return files
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return raw
}
