// Package hostapi stands in for the APIs of GitHub, GitLab, Gitea and Bitbucket Data Center, as far as a bootstrap
// asks for them: of each, one server with the repository fleet of the owner team, which is there once it was made.
// The repository itself is that of a real Git server, if there is one.
package hostapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// Kinds are the kinds of server, by the names of their commands.
var Kinds = []string{"github", "gitlab", "gitea", "bitbucket-server"}

// Options of a Server.
type Options struct {
	// Kind is one of Kinds.
	Kind string
	// Token is the one that is accepted.
	Token string
	// HTTPS and SSH are where the repository is cloned from; by default below the API's own URL, and at a host that
	// is not there.
	HTTPS, SSH string
	// TLS serves HTTPS, with the certificate that httptest has.
	TLS bool
	// OnKey is told of a deploy key that is added.
	OnKey func(Key) error
}

// Key is a deploy key: a line of authorized_keys.
type Key struct {
	Text     string
	ReadOnly bool
}

// Server is one server.
type Server struct {
	*httptest.Server
	options Options

	mu     sync.Mutex // guards what follows
	made   bool
	keys   []Key
	bodies map[string]map[string]any
	asked  int
}

// KeysOnAPage is how many keys are sent at most at once, however many are asked for.
const KeysOnAPage = 2

// api answers a request with a status and a body, and may set headers.
type api func(s *Server, h http.Header, r *http.Request, body map[string]any) (int, any)

var apis = map[string]api{"github": gitHub, "gitlab": gitLab, "gitea": gitea, "bitbucket-server": bitbucket}

// New starts a server, which the caller closes.
func New(o Options) (*Server, error) {
	answer := apis[o.Kind]
	if answer == nil {
		return nil, fmt.Errorf("there is no kind %q, but %s", o.Kind, strings.Join(Kinds, ", "))
	}
	s := &Server{options: o, bodies: map[string]map[string]any{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, answer) }))
	if o.TLS {
		s.StartTLS()
	} else {
		s.Start()
	}
	return s, nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, answer api) {
	if auth := r.Header.Get("Authorization") + r.Header.Get("Private-Token"); !strings.HasSuffix(auth, s.options.Token) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		s.bodies[r.URL.Path] = body
	}
	code, out := answer(s, w.Header(), r, body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(out)
}

// Asked is how many requests were answered, those with another token left out.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// SetMade says that the repository is there, or that it is not.
func (s *Server) SetMade(made bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = made
}

// SetHTTPS names another URL to clone from.
func (s *Server) SetHTTPS(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.HTTPS = url
}

// Keys are the deploy keys.
func (s *Server) Keys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Key(nil), s.keys...)
}

// SetKeys replaces the deploy keys.
func (s *Server) SetKeys(keys ...Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

// Sent is what was created: the bodies of the requests by their path, the last one of each.
func (s *Server) Sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bodies) == 0 {
		return ""
	}
	return fmt.Sprint(s.bodies)
}

// https is where the repository is cloned from.
func (s *Server) https() string {
	if s.options.HTTPS != "" {
		return s.options.HTTPS
	}
	return s.URL + "/team/fleet.git"
}

func (s *Server) ssh(otherwise string) string {
	if s.options.SSH != "" {
		return s.options.SSH
	}
	return otherwise
}

// add adds a deploy key and returns the status of the answer.
func (s *Server) add(text string, readOnly bool) int {
	k := Key{Text: text, ReadOnly: readOnly}
	if s.options.OnKey != nil {
		if err := s.options.OnKey(k); err != nil {
			return http.StatusUnprocessableEntity
		}
	}
	s.keys = append(s.keys, k)
	return http.StatusCreated
}

// page is one page of the keys, from 1, and whether it is the last.
func (s *Server) page(number int) ([]map[string]any, bool) {
	from := min(len(s.keys), (number-1)*KeysOnAPage)
	to := min(len(s.keys), from+KeysOnAPage)
	out := []map[string]any{}
	for _, k := range s.keys[from:to] {
		out = append(out, map[string]any{"id": 1, "key": k.Text + " comment"})
	}
	return out, to == len(s.keys)
}
