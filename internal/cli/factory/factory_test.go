package factory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func TestErrorsBecomeExitCodes(t *testing.T) {
	refused := &url.Error{Op: "Get", URL: "https://hub.example", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	_, missing := os.ReadFile("/nonexistent/file")
	tests := map[string]struct {
		err  error
		code int
		says string
	}{
		"none":                   {nil, ExitOK, ""},
		"told already":           {ErrSilent, ExitFailed, ""},
		"anything":               {errors.New("no"), ExitFailed, "error: no\n"},
		"wrapped usage":          {fmt.Errorf("x: %w", Usagef("bad")), ExitUsage, "error: x: bad\nnext: see 'skerry x --help'\n"},
		"usage with advice":      {Next(Usagef("bad"), "do %d", 1), ExitUsage, "error: bad\nnext: do 1\n"},
		"interrupted":            {fmt.Errorf("x: %w", context.Canceled), ExitInterrupted, "interrupted\n"},
		"too late":               {fmt.Errorf("x: %w", context.DeadlineExceeded), ExitFailed, "next: give it longer with --timeout\n"},
		"no answer":              {fmt.Errorf("cannot list: %w", refused), ExitUnreachable, "next: check that the API server runs"},
		"no answer in time":      {&url.Error{Op: "Get", URL: "https://hub.example", Err: context.DeadlineExceeded}, ExitUnreachable, "next: check that the API server runs"},
		"no answer elsewhere":    {OtherServer(fmt.Errorf("edge: %w", refused)), ExitFailed, "error: edge: "},
		"a file that is missing": {missing, ExitFailed, "no such file"},
		"no Skerry there":        {fmt.Errorf("x: %w", &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "skerry.dev", Kind: "Cluster"}}), ExitFailed, "next: this cluster has no Skerry yet"},
		"forbidden":              {apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "x", errors.New("no")), ExitFailed, "next: use credentials that may do this"},
		"unauthorized":           {apierrors.NewUnauthorized("no"), ExitUnreachable, "next: the API server does not accept these credentials"},
		"no namespace":           {fmt.Errorf("x: %w", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "team")), ExitFailed, "next: create the namespace first"},
		"a server that fails":    {fmt.Errorf("x: %w", apierrors.NewGenericServerResponse(502, "get", schema.GroupResource{}, "", "", 0, true)), ExitUnreachable, "next: what answers is no API server, or it fails"},
		"escapes":                {errors.New("a\x1b[31mb"), ExitFailed, "error: a[31mb\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			streams, _, out, errOut := iostreams.Test()
			if code := Report(streams, "skerry x", "", tt.err); code != tt.code {
				t.Errorf("exit code is %d, want %d", code, tt.code)
			}
			if !strings.Contains(errOut.String(), tt.says) || tt.says == "" && errOut.Len() > 0 || out.Len() > 0 {
				t.Errorf("says %q, want %q", errOut, tt.says)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	known := []string{"apps", "infra", "monitoring", "edge-01", "edge-02"}
	tests := map[string][]string{
		"aps":       {"apps"},
		"paps":      {"apps"},
		"Apps":      {"apps"},
		"infar":     {"infra"},
		"monitor":   {"monitoring"},
		"edge-03":   {"edge-01", "edge-02"},
		"something": nil,
		"":          nil,
	}
	for in, want := range tests {
		if diff := cmp.Diff(want, Nearest(in, known)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func TestNotFoundSaysWhatThereIs(t *testing.T) {
	tests := map[string]struct {
		known []string
		want  string
	}{
		"near":    {[]string{"apps", "other"}, `did you mean "apps"?`},
		"nothing": {nil, "that namespace has none; 'skerry status -A' lists every namespace, -n names one"},
		"others":  {[]string{"z", "y"}, `there are "y", "z"; -n names another namespace`},
		"many":    {strings.Split("k l m n o p q r s t u", " "), `there are "k", "l", "m", "n", "o", "p", "q", "r", …; -n names another namespace`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var advised *NextError
			if err := NotFound("kustomization", "aps", "team", tt.known); !errors.As(err, &advised) || advised.Next != tt.want {
				t.Errorf("%v: next %q, want %q", err, advised.Next, tt.want)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	streams, _, _, log := iostreams.Test()
	now := time.Unix(0, 0)
	f := &Factory{IO: streams, Now: func() time.Time { now = now.Add(1234 * time.Millisecond); return now }}
	steps := f.Steps()
	_ = steps.Do("one", func(s *Step) error {
		s.Notef("half\x1b[2J way")
		s.Notef("half\x1b[2J way")
		s.Donef("%d things", 3)
		return nil
	})
	failed := errors.New("no")
	if err := steps.Do("two", func(*Step) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error is %v", err)
	}
	want := "  … half[2J way\n✔ one: 3 things (1.23s)\n✗ two (1.23s)\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrorsAsJSONAreOneObjectOnStandardError(t *testing.T) {
	streams, _, out, errOut := iostreams.Test()
	if code := Report(streams, "skerry x", "json", Next(errors.New("a\x1b[31mb"), "do it")); code != ExitFailed {
		t.Errorf("exit code is %d", code)
	}
	want := "{\n  \"error\": {\n    \"code\": 1,\n    \"message\": \"a[31mb\",\n    \"next\": \"do it\"\n  }\n}\n"
	if diff := cmp.Diff(want, errOut.String()); diff != "" || out.Len() > 0 {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
