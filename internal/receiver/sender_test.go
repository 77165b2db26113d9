package receiver

import (
	"bufio"
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const token = "the-token-of-this-receiver"

// recorded reads a request of testdata, which another program has signed.
func recorded(t *testing.T, name string) Webhook {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Webhook{Header: r.Header, Body: body}
}

// fixtures are the recorded requests with the type of their sender, with their event where it has any, and with where
// the format was recorded: the fields, their order and their types are those of the sender. Names, addresses and texts
// are ours, and so are the signatures, which OpenSSL and Python have made with the token of the tests.
var fixtures = map[string]struct{ kind, event, origin string }{
	"generic-anything":       {v1alpha1.GenericReceiver, "", "any program that posts: curl --data ping"},
	"generic-event":          {v1alpha1.GenericReceiver, "", "notification-controller 1.10.0, Provider of type generic: Event of fluxcd/pkg/apis/event"},
	"generic-hmac-sha256":    {v1alpha1.GenericHMACReceiver, "", "notification-controller 1.10.0, Provider of type generic-hmac: Event of fluxcd/pkg/apis/event"},
	"generic-hmac-sha512":    {v1alpha1.GenericHMACReceiver, "", "the same, signed with SHA-512, which the Receiver of Flux takes as well"},
	"generic-oidc-actions":   {v1alpha1.GenericOIDCReceiver, "", "docs.github.com, actions/reference/openid-connect-reference: the claims of a token"},
	"github-push":            {v1alpha1.GitHubReceiver, "push", "go-playground/webhooks, testdata/github/push.json; headers of docs.github.com, webhooks/webhook-events-and-payloads"},
	"github-form":            {v1alpha1.GitHubReceiver, "push", "the same, with the content type application/x-www-form-urlencoded"},
	"github-ping":            {v1alpha1.GitHubReceiver, "ping", "go-playground/webhooks, testdata/github/ping.json, for a repository"},
	"gitlab-push":            {v1alpha1.GitLabReceiver, "Push Hook", "go-playground/webhooks, testdata/gitlab/push-event.json; headers of docs.gitlab.com, user/project/integrations/webhooks"},
	"bitbucket-server":       {v1alpha1.BitbucketReceiver, "repo:refs_changed", "go-playground/webhooks, testdata/bitbucket-server/repo-refs-changed.json; headers of confluence.atlassian.com/bitbucketserver, event-payload"},
	"bitbucket-cloud":        {v1alpha1.BitbucketReceiver, "repo:push", "go-playground/webhooks, testdata/bitbucket/repo-push.json; headers of support.atlassian.com/bitbucket-cloud, event-payloads"},
	"gitea-push":             {v1alpha1.GiteaReceiver, "push", "go-playground/webhooks, testdata/gitea/push-event.json; headers as Gitea adds them"},
	"forgejo-push":           {v1alpha1.GiteaReceiver, "push", "forgejo.org/docs, user/webhooks; headers as Forgejo adds them, which are those of Gitea as well"},
	"azuredevops-push":       {v1alpha1.AzureDevOpsReceiver, "git.push", "go-playground/webhooks, testdata/azuredevops/git.push.json"},
	"harbor-push":            {v1alpha1.HarborReceiver, "", "goharbor.io/docs, project-configuration/configure-webhooks, format Default"},
	"harbor-cloudevents":     {v1alpha1.HarborReceiver, "", "goharbor.io/docs, project-configuration/configure-webhooks, format CloudEvents"},
	"dockerhub-push":         {v1alpha1.DockerHubReceiver, "", "go-playground/webhooks, testdata/docker/docker_hub_build_notice.json; docs.docker.com/docker-hub/webhooks"},
	"quay-push":              {v1alpha1.QuayReceiver, "", "docs.quay.io, guides/notifications: Repository Push; keel-hq/keel, pkg/http/quay_webhook_trigger_test.go"},
	"nexus-component":        {v1alpha1.NexusReceiver, "", "help.sonatype.com, example-headers-and-payloads: Component"},
	"acr-push":               {v1alpha1.ACRReceiver, "", "learn.microsoft.com, container-registry-webhook-reference: push; no header but Content-Type is added"},
	"cdevents-change-merged": {v1alpha1.CDEventsReceiver, "dev.cdevents.change.merged.0.2.0", "cdevents/spec, conformance/change_merged.json; headers of the CloudEvents binding for HTTP, binary mode"},
	"gcr-pubsub":             {v1alpha1.GCRReceiver, "", "cloud.google.com, container-registry/docs/configuring-notifications, and pubsub/docs/push, authenticated"},
}

func TestEveryTypeHasARecordedWebhook(t *testing.T) {
	seen := map[string]bool{}
	for name, f := range fixtures {
		seen[f.kind] = true
		if f.origin == "" {
			t.Errorf("%s does not name where it was recorded", name)
		}
	}
	for kind := range schemes {
		if !seen[kind] {
			t.Errorf("%s has none", kind)
		}
	}
	files, err := filepath.Glob("testdata/*.http")
	if err != nil || len(files) != len(fixtures) {
		t.Errorf("%d files, %d fixtures, %v", len(files), len(fixtures), err)
	}
}

func TestRecordedWebhooksAreAccepted(t *testing.T) {
	for name, f := range fixtures {
		for events, want := range map[string]bool{"": true, strings.ToUpper(f.event): true, "other": f.event == ""} {
			s := sender(t, f.kind)
			if events != "" {
				s.Events = []string{events}
			}
			if wanted, _, err := s.Verify(t.Context(), recorded(t, name)); err != nil || wanted != want {
				t.Errorf("%s with events %q: %v, %v", name, events, wanted, err)
			}
		}
		if has := HasEvents(f.kind); has != (f.event != "") {
			t.Errorf("%s has events: %v", f.kind, has)
		}
	}
}

func TestWebhooksOfAnotherTokenAreRefused(t *testing.T) {
	for name, f := range fixtures {
		for _, other := range []string{"", token[1:], token + "\n", "x" + token} {
			s := sender(t, f.kind)
			s.Token = []byte(other)
			_, _, err := s.Verify(t.Context(), recorded(t, name))
			if refused := errors.Is(err, ErrUnauthorized); refused != (other == "" && !HasClaims(f.kind) || !IsPathOnly(f.kind) && !schemes[f.kind].oidc) {
				t.Errorf("%s with the token %q: %v", name, other, err)
			}
		}
	}
}

func TestWebhooksWithoutOrWithWrongHeadersAreRefused(t *testing.T) {
	for name, f := range fixtures {
		if IsPathOnly(f.kind) {
			continue
		}
		for header := range recorded(t, name).Header {
			if !strings.Contains(header, "Signature") && header != "Authorization" && header != "X-Gitlab-Token" {
				continue
			}
			for _, value := range []string{"", "sha256=", "sha1=", "none=", "=", "sha256=00", strings.Repeat("0", 64), "sha256=" + strings.Repeat("0", 64), "Basic Og==", "Bearer x", "null"} {
				w := recorded(t, name)
				for other := range w.Header { // a second signature does not stand in for the one that is read
					if strings.Contains(other, "Signature") && value != "" {
						w.Header.Set(other, value)
					} else if strings.Contains(other, "Signature") {
						w.Header.Del(other)
					}
				}
				w.Header.Set(header, value)
				if wanted, _, err := sender(t, f.kind).Verify(t.Context(), w); !errors.Is(err, ErrUnauthorized) || wanted {
					t.Errorf("%s with %s %q: %v, %v", name, header, value, wanted, err)
				}
			}
		}
	}
}

func TestAChangedBodyIsRefusedBeforeItIsParsed(t *testing.T) {
	for name, f := range fixtures {
		w := recorded(t, name)
		signs := false
		for header := range w.Header {
			signs = signs || strings.Contains(header, "Signature")
		}
		for _, body := range []string{"", "null", "[]", "{", `{"commits":null}`, string(w.Body) + " ", strings.Repeat("[", 100_000)} {
			w.Body = []byte(body)
			wanted, _, err := sender(t, f.kind).Verify(t.Context(), w)
			if signs && (!errors.Is(err, ErrUnauthorized) || wanted) {
				t.Errorf("%s with another body: %v, %v", name, wanted, err)
			}
			if err != nil && !errors.Is(err, ErrUnauthorized) && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v is neither", name, err)
			}
		}
	}
}

func TestGitHubDoesNotFallBackToSHA1(t *testing.T) {
	w := recorded(t, "github-push")
	w.Header.Del("X-Hub-Signature-256")
	if _, _, err := sender(t, v1alpha1.GitHubReceiver).Verify(t.Context(), w); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
}

// TestGiteaAndForgejoPassForGitHub: with Flux, which has no type of their own, a Receiver for them is one of GitHub.
func TestGiteaAndForgejoPassForGitHub(t *testing.T) {
	for _, name := range []string{"gitea-push", "forgejo-push"} {
		s := sender(t, v1alpha1.GitHubReceiver)
		s.Events = []string{"push"}
		if wanted, _, err := s.Verify(t.Context(), recorded(t, name)); err != nil || !wanted {
			t.Errorf("%s: %v, %v", name, wanted, err)
		}
	}
}

// TestSecretsAreComparedInConstantTime reads the source, because no clock of a test tells: what is compared with a token
// or a MAC goes through hmac.Equal or subtle, and through no operator or function that ends at the first difference.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	for _, name := range []string{"sender.go", "oidc.go"} {
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		constant := 0
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if (n.Op == gotoken.EQL || n.Op == gotoken.NEQ) && (isSecret(n.X) || isSecret(n.Y)) {
					t.Errorf("%s compares a secret with %s", name, n.Op)
				}
			case *ast.CallExpr:
				called, ok := n.Fun.(*ast.SelectorExpr)
				if !ok {
					break
				}
				if slices.Contains([]string{"Equal", "EqualFold", "Compare"}, called.Sel.Name) && !isOf(called, "hmac") && slices.ContainsFunc(n.Args, isSecret) {
					t.Errorf("%s compares a secret with %s", name, called.Sel.Name)
				}
				if isOf(called, "hmac") && called.Sel.Name == "Equal" || called.Sel.Name == "ConstantTimeCompare" {
					constant++
				}
			}
			return true
		})
		if name == "sender.go" && constant != 2 {
			t.Errorf("%s has %d comparisons in constant time", name, constant)
		}
	}
}

// isSecret reports whether an expression is a token or a MAC by its name; its length is none.
func isSecret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"token", "digest", "mac", "got"}, e.Name)
	case *ast.SelectorExpr:
		return e.Sel.Name == "Token"
	case *ast.CallExpr:
		if called, ok := e.Fun.(*ast.Ident); ok && called.Name == "string" {
			return isSecret(e.Args[0])
		}
	}
	return false
}

func isOf(e *ast.SelectorExpr, name string) bool {
	of, ok := e.X.(*ast.Ident)
	return ok && of.Name == name
}

func TestMessagesHoldNeitherTokenNorBody(t *testing.T) {
	for name, f := range fixtures {
		w := recorded(t, name)
		w.Body = []byte(`{"secret-of-body":`)
		_, _, err := sender(t, f.kind).Verify(t.Context(), w)
		if err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "secret-of-body")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMalformedCDEventsAreRefused(t *testing.T) {
	for _, body := range []string{
		`{}`, `{"context":[]}`, `{"context":{"id":"1","source":"/","type":"x"}}`, `{"context":{"id":1,"source":"/","type":"x"},"subject":{}}`,
		`{"context":{"id":"1","source":"/"},"subject":{}}`, `[]`, `null`,
	} {
		w := recorded(t, "cdevents-change-merged")
		w.Body = []byte(body)
		if _, _, err := sender(t, v1alpha1.CDEventsReceiver).Verify(t.Context(), w); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	for name := range fixtures {
		data, err := os.ReadFile(filepath.Join("testdata", name+".http"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		for kind := range schemes {
			_, _, err := Sender{Type: kind, Token: []byte("unknown to the fuzzer"), Keys: &Keys{Now: time.Now}}.Verify(t.Context(), Webhook{r.Header, body})
			if err == nil && !IsPathOnly(kind) {
				t.Errorf("%s was accepted", kind)
			}
		}
	})
}
