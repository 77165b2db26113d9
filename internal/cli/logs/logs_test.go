package logs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/logs"
)

// hub is an API server that has Pods and their logs.
func hub(t *testing.T, asked *[]string, logOf map[string]string) *factory.Factory {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var name string
		if _, err := fmt.Sscanf(r.URL.Path, "/api/v1/namespaces/skerry-system/pods/%5s/log", &name); err != nil {
			http.NotFound(w, r)
			return
		}
		*asked = append(*asked, r.URL.RawQuery)
		_, _ = w.Write([]byte(logOf[name]))
	}))
	t.Cleanup(server.Close)
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme)
	b.WithObjects(
		&v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "shop-1", Namespace: "skerry-system"}},
		&v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "ship-1", Namespace: "skerry-system"}, Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{ClusterUID: "ship-uid"}}},
	)
	for name := range logOf {
		b.WithObjects(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "skerry-system", Labels: map[string]string{"app.kubernetes.io/name": "skerry-hub"}}})
	}
	b.WithObjects(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: "skerry-system"}})
	c := b.Build()
	f := factory.New("v0.0.0-test", func(string) string { return "" })
	f.Hub = func() (*factory.Hub, error) {
		return &factory.Hub{WithWatch: c, Config: &rest.Config{Host: server.URL}}, nil
	}
	return f
}

func run(t *testing.T, f *factory.Factory, args ...string) (string, error) {
	t.Helper()
	out, _, err := runBoth(t, f, args...)
	return out, err
}

func runBoth(t *testing.T, f *factory.Factory, args ...string) (out, errOut string, err error) {
	t.Helper()
	streams, _, stdout, stderr := iostreams.Test()
	f.IO, f.Flags.Namespace = streams, "skerry-system"
	cmd := logs.NewCmdLogs(f, nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

func TestLogsOfOnePodAreCleanedAndHaveNoPrefix(t *testing.T) {
	var asked []string
	out, err := run(t, hub(t, &asked, map[string]string{"hub-1": "one\n\x1b[31mtwo\n"}), "--tail", "5", "--since", "90s", "--previous")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("one\n[31mtwo\n", out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"previous=true&sinceSeconds=90&tailLines=5"}, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestLogsOfSeveralPodsNameThePod(t *testing.T) {
	var asked []string
	out, err := run(t, hub(t, &asked, map[string]string{"hub-1": "one\n", "hub-2": "two"}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("[hub-1] one\n[hub-2] two\n", out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLogsWithoutPodsSayWhereTheHubMayBe(t *testing.T) {
	var asked []string
	if _, err := run(t, hub(t, &asked, nil)); err == nil {
		t.Error("there is no error")
	}
	if _, err := run(t, hub(t, &asked, nil), "--tail", "-2"); err == nil {
		t.Error("--tail -2 is accepted")
	}
}

const records = `{"time":"T1","level":"INFO","msg":"starting"}
{"time":"T2","level":"INFO","msg":"pass \u001b[31mended","cluster":"skerry-system/shop-1","kustomization":"skerry-system/web"}
goroutine 1 [running]:
{"time":"T3","level":"ERROR","msg":"pass failed","cluster":"skerry-system/shop-1","kustomization":"team/api","err":"no such kind"}
{"time":"T4","level":"INFO","msg":"an agent is connected","cluster":"skerry-system/ship-1"}
`

func TestLogsAreThoseOfWhatIsNamed(t *testing.T) {
	for args, want := range map[string]string{
		"": "T1 INFO starting\nT2 INFO pass [31mended cluster=skerry-system/shop-1 kustomization=skerry-system/web\ngoroutine 1 [running]:\n" +
			"T3 ERROR pass failed cluster=skerry-system/shop-1 kustomization=team/api err=\"no such kind\"\nT4 INFO an agent is connected cluster=skerry-system/ship-1\n",
		"--cluster shop-1 --level warn": "T3 ERROR pass failed cluster=skerry-system/shop-1 kustomization=team/api err=\"no such kind\"\n",
		"--cluster ship-1 -o json":      `{"time":"T4","level":"INFO","msg":"an agent is connected","cluster":"skerry-system/ship-1"}` + "\n",
	} {
		var asked []string
		got, err := run(t, hub(t, &asked, map[string]string{"hub-1": records}), strings.Fields(args)...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", args, diff)
		}
	}
	for args, want := range map[string]string{
		"--cluster shop-2":                        `there is no cluster "shop-2"`,
		"--from-kubeconfig x":                     "name the cluster with --cluster",
		"--cluster ship-1 --from-context x":       "the file that --from-kubeconfig names",
		"--level loud":                            "--level must be",
		"--since-time yesterday":                  "--since-time must be a time",
		"-o yaml":                                 "-o must be json",
		"--cluster shop-1 --from-kubeconfig /x/y": "cannot read --from-kubeconfig",
	} {
		var asked []string
		if _, err := run(t, hub(t, &asked, map[string]string{"hub-1": records}), strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestTheHubsLogSaysWhereAnAgentLogs(t *testing.T) {
	var asked []string
	_, errOut, err := runBoth(t, hub(t, &asked, map[string]string{"hub-1": records}), "--cluster", "ship-1")
	if err != nil || !strings.Contains(errOut, "its agent logs there: --from-kubeconfig FILE shows that") {
		t.Errorf("%v, %q", err, errOut)
	}
}

// edge is the API server of a cluster with an agent, and its kubeconfig.
func edge(t *testing.T, uid, log string) string {
	t.Helper()
	answers := map[string]string{
		"/api":                                  `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis":                                 `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api/v1":                               `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","namespaced":true,"kind":"Pod","verbs":["list"]},{"name":"namespaces","kind":"Namespace","verbs":["get"]}]}`,
		"/api/v1/namespaces/kube-system":        `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"` + uid + `"}}`,
		"/api/v1/namespaces/skerry-system/pods": `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"agent-1","namespace":"skerry-system"}}]}`,
		"/api/v1/namespaces/skerry-system/pods/agent-1/log": log,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[r.URL.Path]
		if !known || strings.HasSuffix(r.URL.Path, "/pods") && r.URL.Query().Get("labelSelector") != "app.kubernetes.io/name=skerry-agent" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "edge.yaml")
	config := "apiVersion: v1\nkind: Config\ncurrent-context: e\ncontexts: [{name: e, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: \"" + server.URL + "\"}}]\nusers: [{name: u, user: {token: t}}]\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheLogOfAnAgentComesFromItsOwnCluster(t *testing.T) {
	const log = `{"time":"T1","level":"INFO","msg":"connected to the hub"}` + "\n" + `{"time":"T2","level":"INFO","msg":"pass ended","kustomization":"skerry-system/web"}` + "\n"
	var asked []string
	atHub := hub(t, &asked, map[string]string{"hub-1": records})
	out, errOut, err := runBoth(t, atHub, "--cluster", "ship-1", "--from-kubeconfig", edge(t, "ship-uid", log), "--kustomization", "web")
	if err != nil || out != "T2 INFO pass ended kustomization=skerry-system/web\n" || errOut != "" {
		t.Errorf("%v, %q, %q", err, out, errOut)
	}
	if len(asked) > 0 {
		t.Errorf("the hub was asked for logs: %v", asked)
	}
	if _, err := run(t, atHub, "--cluster", "ship-1", "--from-kubeconfig", edge(t, "another", log)); err == nil || !strings.Contains(err.Error(), "this is not cluster ship-1") {
		t.Errorf("the log of another cluster: %v", err)
	}
	if _, err := run(t, atHub, "--cluster", "shop-1", "--from-kubeconfig", edge(t, "ship-uid", log)); err == nil || !strings.Contains(err.Error(), "has no agent") {
		t.Errorf("a cluster without an agent: %v", err)
	}

	// With the hub down the log is still there.
	atHub.Hub = func() (*factory.Hub, error) { return nil, http.ErrServerClosed }
	out, errOut, err = runBoth(t, atHub, "--cluster", "ship-1", "--from-kubeconfig", edge(t, "ship-uid", log))
	if err != nil || !strings.HasPrefix(out, "T1 INFO connected") || !strings.Contains(errOut, "is not known, since the hub does not say") {
		t.Errorf("without a hub: %v, %q, %q", err, out, errOut)
	}
}
