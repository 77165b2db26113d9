package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func clusterNamed(namespace, name string, ready metav1.ConditionStatus) *v1alpha1.Cluster {
	return &v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Status: v1alpha1.ClusterStatus{Conditions: []metav1.Condition{
			{Type: v1alpha1.ReadyCondition, Status: ready, Reason: "Because"},
			{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Because"},
		}},
	}
}

func TestStatus(t *testing.T) {
	refuse := interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
		if _, ok := list.(*v1alpha1.ClusterList); ok {
			return errors.New("connection lost")
		}
		return c.List(ctx, list, o...)
	}}
	ready, failed := clusterNamed("skerry-system", "one", metav1.ConditionTrue), clusterNamed("team", "two", metav1.ConditionFalse)
	tests := map[string]struct {
		args      []string
		objects   []client.Object
		funcs     interceptor.Funcs
		namespace string
		wantErr   string
		wantOut   string
	}{
		"empty":                     {wantOut: "Nothing is here yet"},
		"ready":                     {objects: []client.Object{ready, failed}, wantOut: "1 cluster: all ready"},
		"one namespace":             {objects: []client.Object{ready, failed}, namespace: "team", wantErr: "failed", wantOut: "Cluster two: not ready: Because"},
		"every namespace":           {args: []string{"-A"}, objects: []client.Object{ready, failed}, wantErr: "failed", wantOut: "team/two"},
		"json":                      {args: []string{"-o", "json"}, objects: []client.Object{ready}, wantOut: `"ready": true`},
		"yaml":                      {args: []string{"-o", "yaml"}, objects: []client.Object{ready}, wantOut: "ready: true"},
		"a failed list is no empty": {funcs: refuse, objects: []client.Object{ready}, wantErr: "cannot list Clusters: connection lost"},
		"an argument":               {args: []string{"x"}, wantErr: `status takes no arguments, and there is "x"`},
		"another format":            {args: []string{"-o", "xml"}, wantErr: `invalid argument "xml" for "-o, --output" flag: must be json or yaml`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			scheme, err := factory.Scheme()
			if err != nil {
				t.Fatal(err)
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(tt.objects...).WithInterceptorFuncs(tt.funcs).Build()
			streams, _, out, _ := iostreams.Test()
			f := &factory.Factory{
				IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "skerry-system"},
				Hub: func() (*factory.Hub, error) {
					return &factory.Hub{WithWatch: c, Config: &rest.Config{Host: "https://hub.example"}}, nil
				},
			}
			if tt.namespace != "" {
				f.Flags.Namespace = tt.namespace
			}
			cmd := NewCmdStatus(f, nil)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(append([]string{}, tt.args...))
			err = cmd.ExecuteContext(t.Context())
			if got := fmt.Sprint(err); tt.wantErr == "" && err != nil || tt.wantErr != "" && got != tt.wantErr {
				t.Errorf("error is %q, want %q", got, tt.wantErr)
			}
			if !strings.Contains(out.String(), tt.wantOut) {
				t.Errorf("output lacks %q:\n%s", tt.wantOut, out)
			}
		})
	}
}

// TestJSONAndYAMLSayTheSame, and have lists where there is nothing, for those who iterate.
func TestJSONAndYAMLSayTheSame(t *testing.T) {
	report := Summarize(Facts{Now: time.Now()})
	doc, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(doc), "null") {
		t.Errorf("has nulls: %s", doc)
	}
	asYAML, err := yaml.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	back, err := yaml.YAMLToJSON(asYAML)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	_, _ = json.Unmarshal(doc, &a), json.Unmarshal(back, &b)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("JSON %v, YAML %v", a, b)
	}
}
