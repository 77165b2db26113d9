package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/link"
)

// TestTheHubKeepsAnAgent by a label, and by a Kustomization that is made once: what a person changed of it stays.
func TestTheHubKeepsAnAgent(t *testing.T) {
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	hub := &factory.Hub{WithWatch: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ship-1"}}, &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ship-2"}},
	).Build()}
	streams, _, _, _ := iostreams.Test()
	ks := &v1alpha1.Kustomization{}
	for _, name := range []string{"ship-1", "ship-2"} {
		f := &factory.Factory{IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "fleet"}}
		o := &Options{Factory: f, Name: name, Agent: AgentOptions{Enabled: true}}
		if err := o.Steps().Do("upgrades", func(s *factory.Step) error { return keepAgent(t.Context(), o, hub, s) }); err != nil {
			t.Fatal(err)
		}
		c := &v1alpha1.Cluster{}
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: name}, c); err != nil || c.Labels[v1alpha1.AgentLabel] != v1alpha1.AgentManaged {
			t.Errorf("%s has the labels %v, %v", name, c.Labels, err)
		}
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: v1alpha1.AgentsName}, ks); err != nil {
			t.Fatal(err)
		}
		if name == "ship-1" {
			ks.Spec.Suspend = true
			if err := hub.Update(t.Context(), ks); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !ks.Spec.Suspend || ks.Spec.Prune == nil || *ks.Spec.Prune || ks.Spec.DeletionPolicy != v1alpha1.DeletionOrphan {
		t.Errorf("%+v", ks.Spec)
	}
}

// TestWhichAgentsTheHubKeeps: those that it can install as they are, where it knows their image; by default, and not
// where somebody asks for what cannot be.
func TestWhichAgentsTheHubKeeps(t *testing.T) {
	for args, tt := range map[string]struct {
		image        string
		keep         bool
		why, refusal string
	}{
		"":                                     {"r/agent:v1", true, "", ""},
		"--agent-upgrades":                     {"r/agent:v1", true, "", ""},
		"--agent-upgrades=false":               {"r/agent:v1", false, "", ""},
		"--no-deployment":                      {"r/agent:v1", false, "", ""},
		"--agent-storage=1Gi":                  {"r/agent:v1", false, "options of its own", ""},
		"--namespaces=a":                       {"r/agent:v1", false, "options of its own", ""},
		"--agent-proxy=http://p":               {"r/agent:v1", false, "options of its own", ""},
		"--agent-image=r/i:1":                  {"r/agent:v1", false, "options of its own", ""},
		"--token-for=1h":                       {"", false, v1alpha1.AgentImageUnknownReason, ""},
		"--agent-upgrades --agent-storage=1Gi": {"r/agent:v1", false, "options of its own", "without options"},
		"--agent-upgrades --no-deployment":     {"r/agent:v1", false, "", "without options"},
	} {
		t.Run(args, func(t *testing.T) {
			a, flags := AgentOptions{}, pflag.NewFlagSet("join", pflag.ContinueOnError)
			a.addFlags(flags, "v1.0.0")
			if err := flags.Parse(strings.Fields("--agent " + args)); err != nil {
				t.Fatal(err)
			}
			if err := a.check(&Options{}); (err != nil) != (tt.refusal != "") || err != nil && !strings.Contains(err.Error(), tt.refusal) {
				t.Errorf("check: %v, want %q", err, tt.refusal)
			}
			if keep, why := a.upgrades(tt.image); keep != tt.keep || (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) {
				t.Errorf("kept is %t, since %q; want %t, %q", keep, why, tt.keep, tt.why)
			}
		})
	}
	a, flags := AgentOptions{}, pflag.NewFlagSet("join", pflag.ContinueOnError)
	a.addFlags(flags, "v1.0.0")
	if err := a.check(&Options{}); err != nil {
		t.Errorf("without --agent: %v", err)
	}
}

// TestAnAgentIsToldThePrivateAuthorityOfAnIngress, and no other where the hub's own is pinned.
func TestAnAgentIsToldThePrivateAuthorityOfAnIngress(t *testing.T) {
	dir, ca := t.TempDir(), authority(t)
	for name, data := range map[string]string{"ca.crt": ca, "junk": "junk"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		options AgentOptions
		refusal string
	}{
		"an authority":                   {AgentOptions{Enabled: true, CAFile: "ca.crt"}, ""},
		"no certificate":                 {AgentOptions{Enabled: true, CAFile: "junk"}, "holds no certificate"},
		"no file":                        {AgentOptions{Enabled: true, CAFile: "none"}, "cannot read"},
		"an agent beside the cluster":    {AgentOptions{Enabled: true, CAFile: "ca.crt", NoDeployment: true}, "SSL_CERT_FILE"},
		"a cluster that the hub reaches": {AgentOptions{CAFile: "ca.crt"}, "need --agent"},
	} {
		a := tt.options
		a.CAFile, a.TokenFor = filepath.Join(dir, a.CAFile), time.Hour
		err := a.check(&Options{})
		if (err != nil) != (tt.refusal != "") || err != nil && !strings.Contains(err.Error(), tt.refusal) {
			t.Errorf("%s: %v, want %q", name, err, tt.refusal)
		}
		if err == nil && (a.CA != ca || !a.ownOptions()) {
			t.Errorf("%s: %q is trusted", name, a.CA)
		}
	}

	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	for pinned, refused := range map[string]bool{"": false, ca: true} {
		gateway := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayConfigMap},
			Data:       map[string]string{"url": "https://gateway", "ca.crt": pinned, "hubID": "hub", "hubKey": link.EncodeKey(make([]byte, 32))},
		}
		o := &Options{Factory: &factory.Factory{Flags: &factory.Flags{Namespace: "fleet"}}, Name: "ship-1"}
		o.Agent.CA = ca
		_, err := gatewayOf(t.Context(), o, &factory.Hub{WithWatch: fake.NewClientBuilder().WithScheme(scheme).WithObjects(gateway).Build()})
		if (err != nil) != refused {
			t.Errorf("the hub's own is pinned: %t, and %v", refused, err)
		}
	}
}
