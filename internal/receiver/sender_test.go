package receiver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
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

// fixtures are the recorded requests with the type of their sender, and with their event where it has any.
var fixtures = map[string]struct{ kind, event string }{
	"generic-anything":       {v1alpha1.GenericReceiver, ""},
	"generic-hmac-sha256":    {v1alpha1.GenericHMACReceiver, ""},
	"generic-hmac-sha512":    {v1alpha1.GenericHMACReceiver, ""},
	"github-push":            {v1alpha1.GitHubReceiver, "push"},
	"github-form":            {v1alpha1.GitHubReceiver, "push"},
	"github-ping":            {v1alpha1.GitHubReceiver, "ping"},
	"gitlab-push":            {v1alpha1.GitLabReceiver, "Push Hook"},
	"bitbucket-server":       {v1alpha1.BitbucketReceiver, "repo:refs_changed"},
	"bitbucket-cloud":        {v1alpha1.BitbucketReceiver, "repo:push"},
	"gitea-push":             {v1alpha1.GiteaReceiver, "push"},
	"forgejo-push":           {v1alpha1.GiteaReceiver, "push"},
	"azuredevops-push":       {v1alpha1.AzureDevOpsReceiver, "git.push"},
	"harbor-push":            {v1alpha1.HarborReceiver, ""},
	"dockerhub-push":         {v1alpha1.DockerHubReceiver, ""},
	"quay-push":              {v1alpha1.QuayReceiver, ""},
	"nexus-component":        {v1alpha1.NexusReceiver, ""},
	"acr-push":               {v1alpha1.ACRReceiver, ""},
	"cdevents-change-merged": {v1alpha1.CDEventsReceiver, "dev.cdevents.change.merged.0.2.0"},
	"gcr-pubsub":             {v1alpha1.GCRReceiver, ""},
	"generic-oidc-actions":   {v1alpha1.GenericOIDCReceiver, ""},
}

func TestEveryTypeHasARecordedWebhook(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range fixtures {
		seen[f.kind] = true
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
