package object

import "testing"

func TestIgnoredAnnotations(t *testing.T) {
	one := func(name, annotations string) Object {
		o, err := FromMap(decode(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"`+name+`","annotations":{`+annotations+`}},"data":{"helm.sh/hook":"in a value"}}`))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, tt := range []struct {
		objects []Object
		want    string
	}{
		{nil, ""},
		{[]Object{one("a", `"x":"y"`)}, ""},
		{[]Object{one("a", `"argocd.argoproj.io/sync-options":"Prune=false"`)}, ""},
		{[]Object{one("a", `"argocd.argoproj.io/hook":"PreSync"`)}, "argocd.argoproj.io/hook (ConfigMap/a)"},
		{[]Object{one("a", `"helm.sh/hook":"pre-install","argocd.argoproj.io/hook":"Sync"`), one("b", `"helm.sh/hook":"test"`), one("c", `"helm.sh/hook":"test"`)},
			"argocd.argoproj.io/hook (ConfigMap/a), helm.sh/hook (ConfigMap/a and 2 more)"},
		{[]Object{one("a", `"helm.sh/resource-policy":"keep"`)}, "helm.sh/resource-policy (ConfigMap/a)"},
		{[]Object{one("a", `"argocd.argoproj.io/sync-wave":"-1"`)}, ""}, // it is read
		{[]Object{one("a", `"kustomize.toolkit.fluxcd.io/prune":"disabled","kustomize.toolkit.fluxcd.io/ssa":"Merge","skerry.dev/force":"Enabled","skerry.dev/wave":"1"`)}, ""},
		{[]Object{one("a", `"kustomize.toolkit.fluxcd.io/prune":"false"`), one("b", `"kustomize.toolkit.fluxcd.io/prune":"no"`)},
			"kustomize.toolkit.fluxcd.io/prune, which is neither enabled nor disabled (ConfigMap/a and 1 more)"},
		{[]Object{one("a", `"kustomize.toolkit.fluxcd.io/prunes":"disabled"`)}, "kustomize.toolkit.fluxcd.io/prunes, which is no annotation of kustomize.toolkit.fluxcd.io (ConfigMap/a)"},
		{[]Object{one("a", `"skerry.dev/wait":"no","skerry.dev/drift":"off"`)}, "skerry.dev/drift, which is no annotation of skerry.dev (ConfigMap/a), skerry.dev/wait, which is no annotation of skerry.dev (ConfigMap/a)"},
	} {
		if got := IgnoredAnnotations(tt.objects); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
