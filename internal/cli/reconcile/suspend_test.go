package reconcile

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func testKustomization(name string, suspend bool, labels map[string]string) *v1alpha1.Kustomization {
	return &v1alpha1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name, Labels: labels},
		Spec:       v1alpha1.KustomizationSpec{Suspend: suspend},
	}
}

func suspendWith(t *testing.T, suspend bool, o SuspendOptions, objects ...client.Object) (hub *factory.Hub, out string, err error) {
	t.Helper()
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	streams, _, _, stderr := iostreams.Test()
	hub = &factory.Hub{WithWatch: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()}
	o.Factory = &factory.Factory{IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "apps"}, Hub: func() (*factory.Hub, error) { return hub, nil }}
	o.kind, o.suspend = kustomizationKind(), suspend
	err = runSuspend(t.Context(), &o)
	return hub, stderr.String(), err
}

func suspended(t *testing.T, hub *factory.Hub, name string) bool {
	t.Helper()
	ks := &v1alpha1.Kustomization{}
	if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "apps", Name: name}, ks); err != nil {
		t.Fatal(err)
	}
	return ks.Spec.Suspend
}

func TestSuspendByNameSelectorAndAll(t *testing.T) {
	shop := map[string]string{"tier": "shop"}
	objects := func() []client.Object {
		return []client.Object{testKustomization("web", false, shop), testKustomization("api", true, shop), testKustomization("db", false, nil)}
	}
	for name, tt := range map[string]struct {
		o    SuspendOptions
		want string
	}{
		"names":    {SuspendOptions{Names: []string{"web"}}, "web"},
		"selector": {SuspendOptions{Selector: "tier=shop"}, "web"},
		"all":      {SuspendOptions{All: true}, "web db"},
	} {
		t.Run(name, func(t *testing.T) {
			hub, out, err := suspendWith(t, true, tt.o, objects()...)
			if err != nil {
				t.Fatal(err)
			}
			for _, ks := range []string{"web", "db"} {
				if got, want := suspended(t, hub, ks), strings.Contains(tt.want, ks); got != want {
					t.Errorf("%s suspended: %v", ks, got)
				}
			}
			if name != "names" && !strings.Contains(out, "suspend kustomization api: was suspended already") {
				t.Errorf("output %q", out)
			}
		})
	}
}

func TestResumeWithoutWaitingLetsTheHubGoOn(t *testing.T) {
	hub, out, err := suspendWith(t, false, SuspendOptions{All: true}, testKustomization("web", true, nil), testKustomization("db", false, nil))
	if err != nil || suspended(t, hub, "web") || !strings.Contains(out, "resume kustomization db: was not suspended") {
		t.Errorf("%v %q", err, out)
	}
}

func TestSuspendOfWhatIsNotThereChangesNothing(t *testing.T) {
	hub, _, err := suspendWith(t, true, SuspendOptions{Names: []string{"web", "wbe"}}, testKustomization("web", false, nil))
	if err == nil || suspended(t, hub, "web") {
		t.Errorf("%v, suspended: %v", err, suspended(t, hub, "web"))
	}
	if _, _, err := suspendWith(t, true, SuspendOptions{Selector: "tier=shop"}, testKustomization("web", false, nil)); err == nil || !strings.Contains(err.Error(), "no kustomization in the namespace apps matches") {
		t.Errorf("%v", err)
	}
}

func TestSuspendRefusesAnAmbiguousCommandLine(t *testing.T) {
	for name, o := range map[string]*SuspendOptions{
		"nothing":        {},
		"names and all":  {Names: []string{"a"}, All: true},
		"all and labels": {Selector: "a=b", All: true},
		"bad labels":     {Selector: "a=(b"},
	} {
		var usage *factory.UsageError
		if err := o.validate("skerry suspend kustomization"); !errors.As(err, &usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
