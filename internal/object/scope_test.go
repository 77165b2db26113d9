package object

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func widgetDefinition(scope string) string {
	return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com"},` +
		`"spec":{"group":"example.com","names":{"kind":"Widget","plural":"widgets"},` + scope + `"versions":[{"name":"v1","schema":{"scope":"Namespaced"}}]}}`
}

func widget(namespace string) string {
	return `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","namespace":"` + namespace + `"},"spec":{"big":9007199254740993}}`
}

func TestBundleSettlesNamespaces(t *testing.T) {
	role := `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"r","namespace":"a"}}`
	for name, tc := range map[string]struct {
		in   []string
		want []string
	}{
		"a kind of Kubernetes":            {[]string{role}, []string{"ClusterRole.rbac.authorization.k8s.io/r"}},
		"a kind of the same bundle":       {[]string{widget("a"), widgetDefinition(`"scope":"Cluster",`)}, []string{"CustomResourceDefinition.apiextensions.k8s.io/widgets.example.com", "Widget.example.com/w"}},
		"a namespaced one":                {[]string{widget("a"), widgetDefinition(`"scope":"Namespaced",`)}, []string{"CustomResourceDefinition.apiextensions.k8s.io/widgets.example.com", "Widget.example.com/a/w"}},
		"two of them":                     {[]string{widget("b"), widget("a"), widgetDefinition(`"scope":"Namespaced",`)}, []string{"CustomResourceDefinition.apiextensions.k8s.io/widgets.example.com", "Widget.example.com/a/w", "Widget.example.com/b/w"}},
		"a definition without scope":      {[]string{widget("a"), widgetDefinition("")}, []string{"CustomResourceDefinition.apiextensions.k8s.io/widgets.example.com", "Widget.example.com/a/w"}},
		"a scope that is not a word":      {[]string{widget("a"), widgetDefinition(`"scope":{"a":1},`)}, []string{"CustomResourceDefinition.apiextensions.k8s.io/widgets.example.com", "Widget.example.com/a/w"}},
		"a scope in other letters":        {[]string{widget("a"), widgetDefinition(`"Scope":"Cluster",`)}, []string{"CustomResourceDefinition.apiextensions.k8s.io/widgets.example.com", "Widget.example.com/a/w"}},
		"a kind that is defined nowhere":  {[]string{widget("a")}, []string{"Widget.example.com/a/w"}},
		"a kind of the name in our group": {[]string{`{"apiVersion":"example.com/v1","kind":"ClusterRole","metadata":{"name":"r","namespace":"a"}}`}, []string{"ClusterRole.example.com/a/r"}},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []Object
			for _, body := range tc.in {
				objects = append(objects, object(t, body))
			}
			b, err := NewBundle(objects)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range b.Objects {
				got = append(got, o.ID.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			back, err := DecodeBundle(b.Encode()) // the bodies have no namespace either
			if diff := cmp.Diff(b, back); err != nil || diff != "" {
				t.Errorf("DecodeBundle: %v %s", err, diff)
			}
		})
	}
}

func TestBundleRefusesTwoObjectsThatDifferInAMeaninglessNamespace(t *testing.T) {
	_, err := NewBundle([]Object{object(t, widget("a")), object(t, widget("b")), object(t, widgetDefinition(`"scope":"Cluster",`))})
	twice, ok := errors.AsType[*DuplicateError](err)
	if !ok || twice.ID.String() != "Widget.example.com/w" || !twice.Namespaces {
		t.Errorf("got %v", err)
	}
}

func TestSettleAsksTheCluster(t *testing.T) {
	b, err := NewBundle([]Object{
		object(t, widget("a")),
		object(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`),
		object(t, `{"apiVersion":"other.example.com/v1","kind":"Thing","metadata":{"name":"x","namespace":"a"}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	scopes := Scopes(func(group, kind string) Scope {
		return map[string]Scope{"Widget": ScopeCluster, "ConfigMap": ScopeNamespaced}[kind]
	})
	settled, open, err := b.Settle(scopes)
	if err != nil {
		t.Fatal(err)
	}
	want := map[ID]bool{{Kind: "ConfigMap", Name: "x"}: true, {Group: "other.example.com", Kind: "Thing", Namespace: "a", Name: "x"}: true}
	if diff := cmp.Diff(want, open); diff != "" {
		t.Errorf("not settled: %s", diff)
	}
	found := false
	for i, o := range settled.Objects {
		found = found || o.ID == ID{Group: "example.com", Kind: "Widget", Name: "w"}
		if i > 0 && Order(settled.Objects[i-1].ID, o.ID) >= 0 {
			t.Errorf("%s is out of order", o.ID)
		}
	}
	if !found || b.Objects[1].Namespace == "" && b.Objects[2].Namespace == "" {
		t.Errorf("settled %v from %v", settled.Objects, b.Objects)
	}
}
