package logs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

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
	streams, _, out, _ := iostreams.Test()
	f.IO = streams
	cmd := logs.NewCmdLogs(f, nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
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
