package house

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/skerry-dev/skerry/"

// arrow forbids that packages link others. Prefixes stand for whole path elements.
type arrow struct {
	name   string
	from   []string // prefixes below the module
	except []string
	never  []string // prefixes, of any module
}

var (
	core        = []string{"internal/object", "internal/apierror", "internal/render", "internal/signature", "internal/tree", "internal/inventory", "internal/plan", "internal/engine/machine", "internal/rollout", "internal/pacing", "internal/health", "internal/drift", "internal/migrate", "internal/expression", "internal/report", "internal/explain", "internal/targeting", "internal/sharding", "internal/text", "internal/lru", "internal/link", "internal/medium", "internal/recovery", "internal/removal"}
	adapters    = []string{"internal/git", "internal/bundlestore", "internal/edge", "internal/fence", "internal/kubeconfig", "internal/isolate", "internal/sopsclient", "internal/decrypt"}
	composition = []string{"internal/hub", "internal/cli", "internal/agent", "internal/program"}
)

// clouds are SOPS, whose root links them all, and what it links.
var clouds = []string{"github.com/getsops/sops", "github.com/aws", "github.com/Azure", "cloud.google.com", "github.com/hashicorp/vault", "google.golang.org/grpc"}

var arrows = []arrow{
	{
		name:  "api imports nothing of ours",
		from:  []string{"api"},
		never: ours("internal", "controllers", "cmd", "config"),
	},
	{
		name:  "what everything may use knows nothing of ours",
		from:  []string{"internal/deflate", "internal/ownfiles", "internal/sleep", "internal/version", "internal/program"},
		never: ours("api", "internal", "controllers", "cmd", "config"),
	},
	{
		name:  "the core knows no adapter, engine or controller",
		from:  core,
		never: ours(append(append([]string{"internal/engine", "controllers", "cmd"}, adapters...), composition...)...),
	},
	{
		name:  "the core has no client",
		from:  core,
		never: []string{"k8s.io/client-go/rest", "k8s.io/client-go/kubernetes", "k8s.io/client-go/dynamic", "sigs.k8s.io/controller-runtime/pkg/client", "sigs.k8s.io/controller-runtime/pkg/manager", "github.com/go-git/go-git"},
		// kstatus, which health stands on, drags client-go's discovery in through its mapper. The leases of
		// shards lie below their placement.
		except: []string{"internal/health", "internal/sharding/holder"},
	},
	{
		name:  "adapters know no engine and no controller",
		from:  adapters,
		never: ours(append([]string{"internal/engine", "controllers", "cmd"}, composition...)...),
	},
	{
		name:  "what controllers share of the hub's API knows no adapter, engine or controller, nor do the receiver and the leases of shards",
		from:  []string{"internal/hubapi", "internal/receiver", "internal/sharding/holder"},
		never: ours(append(append([]string{"internal/engine", "internal/gateway", "controllers", "cmd"}, adapters...), composition...)...),
	},
	{
		name:  "the gateway stands in for an engine: it renders and fetches nothing, and knows no controller",
		from:  []string{"internal/gateway"},
		never: ours(append([]string{"internal/git", "internal/render", "internal/isolate", "internal/hubapi", "internal/receiver", "controllers", "cmd"}, composition...)...),
	},
	{
		name:  "the engine, and so the agent, links no kustomize, no go-git and no hub",
		from:  []string{"internal/engine", "internal/agent", "cmd/skerry-agent"},
		never: append(ours("internal/render", "internal/isolate", "internal/git", "internal/hub", "internal/gateway", "internal/cli", "controllers"), "sigs.k8s.io/kustomize/api", "github.com/go-git/go-git"),
	},
	{
		name:  "the agent links no types of APIs but those that it reads, and no informers",
		from:  []string{"internal/engine", "internal/agent", "cmd/skerry-agent"},
		never: []string{"k8s.io/client-go/kubernetes/scheme", "k8s.io/client-go/informers", "sigs.k8s.io/controller-runtime/pkg/manager"},
	},
	{
		name:   "nothing but skerry-sops links a client of a cloud",
		from:   []string{"api", "controllers", "internal", "cmd/skerry", "cmd/skerry-hub", "cmd/skerry-agent"},
		except: []string{"internal/decrypt"},
		never:  append(ours("internal/decrypt"), clouds...),
	},
	{
		name:  "controllers know no composition",
		from:  []string{"controllers"},
		never: ours(append([]string{"cmd"}, composition...)...),
	},
	{
		name:   "the product links no testkit",
		from:   []string{"api", "cmd", "controllers", "internal"},
		except: []string{"internal/testkit"},
		never:  append(ours("internal/testkit", "e2e"), "github.com/stretchr/testify"),
	},
	{
		name: "the product links no testing",
		from: []string{"api", "cmd", "controllers", "internal"},
		// sops/age asks testing whether it is tested.
		except: []string{"internal/testkit", "internal/decrypt", "cmd/skerry-sops"},
		never:  []string{"testing"},
	},
}

func TestArrows(t *testing.T) {
	packages := list(t)
	for _, a := range arrows {
		t.Run(a.name, func(t *testing.T) {
			for _, p := range packages {
				path, ok := strings.CutPrefix(p.ImportPath, module)
				if !ok || !within(path, a.from) || within(path, a.except) {
					continue
				}
				for _, dep := range p.Deps {
					if within(dep, a.never) {
						t.Errorf("%s links %s", path, dep)
					}
				}
			}
		})
	}
}

// TestArrowsCanBreak holds the test itself: a rule that matches nothing would pass for ever.
func TestArrowsCanBreak(t *testing.T) {
	for path, want := range map[string]bool{
		"internal/git":           true,
		"internal/git/x":         true,
		"internal/gitserver":     false,
		"other/internal/git":     false,
		"internal/engine":        false,
		"internal/bundlestore/y": true,
	} {
		if got := within(path, adapters); got != want {
			t.Errorf("within(%q, adapters) = %t, want %t", path, got, want)
		}
	}
	linked := map[string]bool{}
	for _, p := range list(t) {
		for _, dep := range p.Deps {
			linked[dep] = true
		}
	}
	for _, dep := range []string{"sigs.k8s.io/kustomize/api/krusty", "github.com/go-git/go-git/v5/plumbing", "k8s.io/client-go/rest", "github.com/getsops/sops/v3"} {
		if !linked[dep] {
			t.Errorf("nothing links %s: does the rule still name what is used?", dep)
		}
	}
}

type pkg struct {
	ImportPath string
	Deps       []string
}

// list returns every package of the module with all that it links, tests left out.
func list(t *testing.T) []pkg {
	t.Helper()
	all, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// listed asks the go command, once.
var listed = sync.OnceValues(func() ([]pkg, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(context.Background(), "go", "list", "-json=ImportPath,Deps", module+"...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list packages: %w\n%s", err, stderr.String())
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("cannot read go list: %w", err)
		}
		all = append(all, p)
	}
})

func within(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

func ours(paths ...string) []string {
	all := make([]string, 0, len(paths))
	for _, p := range paths {
		all = append(all, module+p)
	}
	return all
}
