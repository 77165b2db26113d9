package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/tree"
)

// workload returns a repository of apps of four objects each: in one kustomization that lists all
// files, or each app a base of its own.
func workload(tb testing.TB, apps int, bases bool) *tree.Tree {
	tb.Helper()
	files := map[string]tree.File{}
	var top strings.Builder
	top.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for i := range apps {
		dir := fmt.Sprintf("app-%03d", i)
		for name, text := range app(dir) {
			files[dir+"/"+name] = tree.File{Data: []byte(text)}
			if !bases {
				fmt.Fprintf(&top, "  - %s/%s\n", dir, name)
			}
		}
		if bases {
			fmt.Fprintf(&top, "  - %s\n", dir)
			files[dir+"/kustomization.yaml"] = tree.File{Data: []byte("resources: [sa.yaml, deploy.yaml, svc.yaml, ing.yaml]\n")}
		}
	}
	files["kustomization.yaml"] = tree.File{Data: []byte(top.String())}
	t, err := tree.New(fmt.Sprintf("sha1:%d-%t", apps, bases), files)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func app(name string) map[string]string {
	replacer := strings.NewReplacer("NAME", name)
	return map[string]string{
		"sa.yaml": replacer.Replace("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: NAME\n  namespace: apps\n"),
		"deploy.yaml": replacer.Replace(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
  namespace: apps
  labels:
    app: NAME
spec:
  replicas: 0
  selector:
    matchLabels:
      app: NAME
  template:
    metadata:
      labels:
        app: NAME
    spec:
      serviceAccountName: NAME
      containers:
        - name: web
          image: ghcr.io/example/web:1.0.0
          ports:
            - containerPort: 8080
              name: http
          env:
            - name: MODE
              value: production
            - name: LEVEL
              value: "3"
          resources:
            requests:
              cpu: 10m
              memory: 16Mi
            limits:
              memory: 64Mi
          readinessProbe:
            httpGet:
              path: /
              port: http
`),
		"svc.yaml": replacer.Replace("apiVersion: v1\nkind: Service\nmetadata:\n  name: NAME\n  namespace: apps\nspec:\n  selector:\n    app: NAME\n  ports:\n    - name: http\n      port: 80\n      targetPort: http\n"),
		"ing.yaml": replacer.Replace(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: NAME
  namespace: apps
spec:
  rules:
    - host: NAME.example.com
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: NAME
                port:
                  name: http
`),
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, layout := range []string{"flat", "bases"} {
		for _, apps := range []int{25, 50} {
			repo := workload(b, apps, layout == "bases")
			b.Run(fmt.Sprintf("%s/objects=%d", layout, 4*apps), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Build(b.Context(), repo, Options{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkStages shows what of a build is kustomize's, and what checking before and encoding after
// it costs.
func BenchmarkStages(b *testing.B) {
	repo := workload(b, 50, false)
	input, failed := collect(repo, Options{}, ".")
	if failed != nil {
		b.Fatal(failed)
	}
	made, err := runKustomize(input)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("collect", func(b *testing.B) {
		for b.Loop() {
			if _, err := collect(repo, Options{}, "."); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("key", func(b *testing.B) {
		for b.Loop() {
			input.key()
		}
	})
	b.Run("kustomize", func(b *testing.B) {
		for b.Loop() {
			if _, err := runKustomize(input); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			for _, res := range made.Resources() {
				m, err := toMap(res.YNode())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := finish(m, CommonMetadata{}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkCache is what a cluster costs whose input was rendered before, with and without variables
// of its own.
func BenchmarkCache(b *testing.B) {
	repo := workload(b, 50, false)
	for _, vars := range []bool{false, true} {
		b.Run(fmt.Sprintf("vars=%t", vars), func(b *testing.B) {
			c := NewCache(64 << 20)
			i := 0
			for b.Loop() {
				o := Options{}
				if vars {
					o.Vars, o.PostBuild = map[string]string{"cluster_name": fmt.Sprint(i)}, &PostBuild{}
				}
				if _, err := c.Build(b.Context(), repo, o); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
