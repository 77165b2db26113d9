package receiver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

const ingress = `
metadata: {name: hooks, namespace: skerry-system}
spec:
  tls: [{hosts: [hooks.example.com]}]
  rules:
  - host: other.example.com
    http: {paths: [{path: /hook/, backend: {service: {name: other}}}]}
  - host: hooks.example.com
    http: {paths: [{path: /hook/, backend: {service: {name: skerry-receiver}}}]}
`

func TestURLOfAReceiver(t *testing.T) {
	for name, tt := range map[string]struct {
		ingress, base, output string
		unready, outdated     bool
		name                  string
		want, wantErr         string
	}{
		"by an Ingress":      {ingress: ingress, want: "https://hooks.example.com/hook/0123\n"},
		"by the flag":        {ingress: ingress, base: "http://10.0.0.1:9292/", want: "http://10.0.0.1:9292/hook/0123\n"},
		"the path alone":     {want: "/hook/0123\n"},
		"as JSON":            {output: "json", base: "https://h", want: "{\n  \"url\": \"https://h/hook/0123\",\n  \"path\": \"/hook/0123\"\n}\n"},
		"one that is closed": {unready: true, wantErr: "receiver github accepts no webhooks: ReceiversDisabled: the hub does not listen"},
		"one not looked at":  {outdated: true, wantErr: "the hub has not looked at receiver github yet"},
		"a wrong name":       {name: "gihub", wantErr: `there is no receiver "gihub" in namespace "skerry-system"`},
		"a wrong base":       {base: "hooks.example.com", wantErr: "--base-url must be like https://hooks.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &v1alpha1.Receiver{ObjectMeta: metav1.ObjectMeta{Namespace: "skerry-system", Name: "github", Generation: 1}}
			r.Status.ObservedGeneration, r.Status.WebhookPath = 1, "/hook/0123"
			r.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True"}}
			if tt.unready {
				r.Status.Conditions[0] = metav1.Condition{Type: "Ready", Status: "False", Reason: "ReceiversDisabled", Message: "the hub does not listen"}
			}
			if tt.outdated {
				r.Generation = 2
			}
			objects := []client.Object{r}
			if tt.ingress != "" {
				o := &networkingv1.Ingress{}
				if err := yaml.UnmarshalStrict([]byte(tt.ingress), o); err != nil {
					t.Fatal(err)
				}
				objects = append(objects, o)
			}
			scheme := runtime.NewScheme()
			for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, networkingv1.AddToScheme} {
				if err := add(scheme); err != nil {
					t.Fatal(err)
				}
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
			streams, _, out, _ := iostreams.Test()
			o := &URLOptions{Name: "github", Base: tt.base, Output: tt.output, Factory: &factory.Factory{
				IO: streams, Flags: &factory.Flags{Namespace: "skerry-system"},
				Hub: func() (*factory.Hub, error) { return &factory.Hub{WithWatch: c}, nil },
			}}
			if tt.name != "" {
				o.Name = tt.name
			}
			message := ""
			if err := runURL(t.Context(), o); err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff([]string{tt.want, tt.wantErr}, []string{out.String(), message}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
