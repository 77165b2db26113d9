package decrypt

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/sopsclient"
)

// TestMain lets the program of the tests be skerry-sops, or one that ends at its first request.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "crash" {
		_, _ = os.Stdin.Read(make([]byte, 1))
		panic("as on a hostile file")
	}
	os.Exit(m.Run())
}

func TestTheProgramOpensFilesForTheHub(t *testing.T) {
	recipient, secret := newAge(t)
	_, other := newAge(t)
	file := encrypt(t, "password: "+canary+"\n", render.FormatYAML, "", ageKey(t, recipient))
	c := sopsclient.New(t.Context(), []string{os.Args[0], "serve"}, logr.Discard())
	if err := c.Check("keys", secret); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 12 { // more than there are processes
		wg.Go(func() {
			plain, failed := c.Decryption("1", "keys", secret, false).Open(file, render.FormatYAML, render.FormatYAML)
			if failed != nil || string(plain) != "password: "+canary+"\n" {
				t.Errorf("got %q, %v", plain, failed)
			}
		})
	}
	wg.Wait()
	_, failed := c.Decryption("2", "keys", other, false).Open(file, render.FormatYAML, render.FormatYAML)
	if failed == nil || failed.IsTransient() || !strings.Contains(failed.Message, recipient) || !strings.Contains(failed.Message, "the Secret keys has no key") {
		t.Errorf("with another key: %v", failed)
	}
	err := c.Check("keys", map[string][]byte{"x.agekey": []byte("nonsense")})
	if err == nil || !sopsclient.Answered(err) || !strings.Contains(err.Error(), "key x.agekey of the Secret keys") {
		t.Errorf("of a bad key: %v", err)
	}
}

// TestAProgramThatEndsIsTriedAgain holds that neither a crash of the program nor its absence is taken for
// something that the file or the keys are at fault for.
func TestAProgramThatEndsIsTriedAgain(t *testing.T) {
	_, secret := newAge(t)
	for _, command := range [][]string{{os.Args[0], "crash"}, {"/nonexistent/skerry-sops"}} {
		c := sopsclient.New(t.Context(), command, logr.Discard())
		if err := c.Check("keys", secret); err == nil || sopsclient.Answered(err) {
			t.Errorf("%v: %v", command, err)
		}
		if _, failed := c.Decryption("1", "keys", secret, false).Open([]byte("a: b"), render.FormatYAML, render.FormatYAML); failed == nil || !failed.IsTransient() {
			t.Errorf("%v: %v", command, failed)
		}
	}
}
