// Package workload is what the benchmarks put onto clusters: apps of four objects, as a repository
// holds them and as the floor sends them.
package workload

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// Kind says where objects of one kind are in the API.
type Kind struct {
	APIVersion, Name, Plural string
}

// Path is the URL path of one object.
func (k Kind) Path(namespace, name string) string {
	prefix := "/apis/"
	if !strings.Contains(k.APIVersion, "/") {
		prefix = "/api/"
	}
	return prefix + k.APIVersion + "/namespaces/" + namespace + "/" + k.Plural + "/" + name
}

var (
	serviceAccounts = Kind{"v1", "ServiceAccount", "serviceaccounts"}
	deployments     = Kind{"apps/v1", "Deployment", "deployments"}
	services        = Kind{"v1", "Service", "services"}
	ingresses       = Kind{"networking.k8s.io/v1", "Ingress", "ingresses"}
)

// Object is one object of the workload.
type Object struct {
	Kind            Kind
	Namespace, Name string
	Body            map[string]any
}

type m = map[string]any

// App returns the four objects of one app, all of which hold the version.
func App(namespace, name, version string) []Object {
	selector := m{"app": name}
	of := func(k Kind, rest m) Object {
		body := m{
			"apiVersion": k.APIVersion, "kind": k.Name,
			"metadata": m{"name": name, "namespace": namespace, "annotations": m{"example.com/version": version}, "labels": selector},
		}
		maps.Copy(body, rest)
		return Object{Kind: k, Namespace: namespace, Name: name, Body: body}
	}
	container := m{
		"name": "web", "image": "registry.example.com/" + name + ":" + version,
		"ports":     []any{m{"containerPort": 8080, "name": "http"}},
		"resources": m{"requests": m{"cpu": "10m", "memory": "32Mi"}, "limits": m{"memory": "64Mi"}},
	}
	backend := m{"service": m{"name": name, "port": m{"number": 80}}}
	return []Object{
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

// AppName names the i-th app.
func AppName(i int) string { return fmt.Sprintf("app-%03d", i) }

// Objects returns all objects of n apps.
func Objects(namespace string, n int, version string) []Object {
	var all []Object
	for i := range n {
		all = append(all, App(namespace, AppName(i), version)...)
	}
	return all
}

// AppFile returns the manifests of one app as a repository holds them.
func AppFile(namespace, name, version string) string { return File(App(namespace, name, version)) }

// File returns the manifests of objects as a repository holds them.
func File(all []Object) string {
	var b strings.Builder
	for _, o := range all {
		b.WriteString("---\n")
		b.Write(encode(o.Body)) // JSON is YAML
		b.WriteString("\n")
	}
	return b.String()
}

// Folder returns the files of a folder with n apps and their kustomization.yaml.
func Folder(dir, namespace string, n int, version string) map[string]string {
	files := map[string]string{}
	var list strings.Builder
	list.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for i := range n {
		name := AppName(i)
		files[dir+"/"+name+".yaml"] = AppFile(namespace, name, version)
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
