package agent

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

// transcript writes down what goes over the link, one line for each message, in the order of time. What differs in each
// run has a placeholder with a number, which is the same for the same value.
type transcript struct {
	mu     sync.Mutex // guards what follows
	lines  []transcriptLine
	began  bool
	values map[string]string // placeholder by kind and value
	counts map[string]int    // placeholders by kind
	failed []error
}

// transcriptLine is what is written of one moment. What happens at the same moment on different ways has no order of its
// own, and is put into that of the ways.
type transcriptLine struct {
	at   time.Time
	way  int
	text string
}

// The ways of the link.
const (
	wayOfTheStory = iota // what the hub and the network do
	wayOfProofs
	wayOfTheStream
	wayOfReports
	wayOfBundles
)

func newTranscript() *transcript {
	return &transcript{values: map[string]string{}, counts: map[string]int{}}
}

// begin has everything written down from now on.
func (t *transcript) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = true
}

// add writes down what happens now, if it is part of the story. text is called in any case.
func (t *transcript) add(way int, text func() string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if line := (transcriptLine{time.Now(), way, text()}); t.began {
		t.lines = append(t.lines, line)
	}
}

// say writes down what the story does.
func (t *transcript) say(what string) {
	t.add(wayOfTheStory, func() string { return "# " + what + "\n" })
}

// has reports whether a line contains a text.
func (t *transcript) has(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.lines, func(l transcriptLine) bool { return strings.Contains(l.text, text) })
}

// text returns what was written down. Placeholders get their numbers here, in the order of the text.
func (t *transcript) text() (string, []error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.lines, func(a, b transcriptLine) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.way - b.way
	})
	var all strings.Builder
	for _, l := range t.lines {
		all.WriteString(l.text)
	}
	return marked.ReplaceAllStringFunc(all.String(), t.number), t.failed
}

// marked is a value that gets a placeholder: its kind and itself.
var marked = regexp.MustCompile("\x01([a-z]+)\x02([^\x03]*)\x03")

func mark(kind, value string) string { return "\x01" + kind + "\x02" + value + "\x03" }

func (t *transcript) number(found string) string {
	if t.values[found] == "" {
		kind := marked.FindStringSubmatch(found)[1]
		t.counts[kind]++
		t.values[found] = fmt.Sprintf("<%s %d>", kind, t.counts[kind])
	}
	return t.values[found]
}

// named is a connection of an agent with a name; "" where there is only one.
type named struct {
	net.Conn
	name string
}

type nameKey struct{}

// delays are how long a request is on its way, by the way: no two of a session arrive at the same moment, as over a real
// network, and each time in the same order.
var delays = map[int]time.Duration{
	wayOfProofs: 10 * time.Millisecond, wayOfTheStream: 20 * time.Millisecond, wayOfReports: 30 * time.Millisecond, wayOfBundles: 45 * time.Millisecond,
}

func wayOf(path string) int {
	switch {
	case path == link.StreamPath:
		return wayOfTheStream
	case path == link.ReportPath:
		return wayOfReports
	case path == link.ObjectsPath, strings.HasPrefix(path, link.BundlesPath):
		return wayOfBundles
	}
	return wayOfProofs
}

// over returns a gateway of which everything is written down.
func (t *transcript) over(gateway http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		way := wayOf(r.URL.Path)
		time.Sleep(delays[way])
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Context().Err() != nil { // the agent has gone meanwhile, or the link
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		a := &answer{ResponseWriter: w, t: t, way: way, request: r, body: body, status: http.StatusOK}
		gateway.ServeHTTP(a, r)
		a.end()
	})
}

// answer writes down an exchange: a stream frame by frame, and everything else as a whole when it is answered.
type answer struct {
	http.ResponseWriter

	t       *transcript
	way     int
	request *http.Request
	body    []byte
	status  int
	got     bytes.Buffer // what is not written down yet
	begun   bool
	frames  int
}

// Unwrap lets the gateway set deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(data []byte) (int, error) {
	a.got.Write(data)
	if a.way == wayOfTheStream {
		a.flush()
	}
	return a.ResponseWriter.Write(data)
}

// flush writes down the request and the frames that are whole.
func (a *answer) flush() {
	a.t.add(a.way, func() string {
		text := ""
		if !a.begun {
			a.begun = true
			text = a.title() + a.asked()
		}
		return text + a.answered()
	})
}

func (a *answer) end() {
	a.flush()
	if a.way == wayOfTheStream && a.status == http.StatusOK {
		a.t.add(a.way, func() string { return "stream of " + a.token() + " ends\n" })
	}
}

// indent begins a line of an answer. Of a stream it names its session, as other things happen between two frames.
func (a *answer) indent() string {
	if a.way == wayOfTheStream {
		return "stream of " + a.token() + ": "
	}
	return "  down "
}

func (a *answer) token() string {
	return mark("token", strings.TrimPrefix(a.request.Header.Get("Authorization"), "Bearer "))
}

func (a *answer) title() string {
	text := ""
	if name, _ := a.request.Context().Value(nameKey{}).(string); name != "" {
		text = name + ": "
	}
	path := a.request.URL.Path
	if digest, ok := strings.CutPrefix(path, link.BundlesPath); ok {
		path = link.BundlesPath + mark("digest", digest)
	}
	text += a.request.Method + " " + path
	if a.request.Header.Get("Authorization") != "" {
		text += " as " + a.token()
	}
	text += fmt.Sprintf(": %d", a.status)
	if after := a.Header().Get("Retry-After"); after != "" {
		text += ", retry after " + after
	}
	return text + "\n"
}

// asked returns the message of the request; that of a report has a signature behind it.
func (a *answer) asked() string {
	if len(a.body) == 0 {
		return ""
	}
	from := bytes.NewReader(a.body)
	message, err := link.ReadFrame(from, link.MaxMessage)
	if err != nil {
		a.t.failed = append(a.t.failed, err)
	}
	text := "  up   " + a.t.flow(message)
	if signature, err := link.ReadFrame(from, link.MaxMessage); err == nil && len(signature) > 0 {
		text += " <signature>"
	}
	return text + "\n"
}

// answered returns the frames of the answer that have come as a whole. Of empty ones, which keep a stream alive, it
// returns the first.
func (a *answer) answered() string {
	var text strings.Builder
	for a.got.Len() >= 4 && a.got.Len()-4 >= int(binary.BigEndian.Uint32(a.got.Bytes())&^(1<<31)) {
		payload, err := link.ReadFrame(&a.got, link.MaxMessage)
		a.frames++
		switch {
		case err != nil:
			a.t.failed = append(a.t.failed, err)
		case len(payload) == 0 && (a.frames == 1 || a.way != wayOfTheStream):
			text.WriteString(a.indent() + "an empty frame\n")
		case len(payload) == 0:
		case a.request.URL.Path == link.ObjectsPath:
			text.WriteString(a.chunks(payload))
		default:
			text.WriteString(a.indent() + a.t.flow(payload) + "\n")
		}
	}
	return text.String()
}

func (a *answer) chunks(payload []byte) string {
	chunks, err := link.ParseChunks(payload)
	if err != nil {
		a.t.failed = append(a.t.failed, err)
	}
	text := ""
	for _, c := range chunks {
		body := fmt.Sprintf("bytes %d to %d of %d", c.Offset, c.Offset+int64(len(c.Data)), c.Size)
		if len(c.Data) == int(c.Size) {
			body = a.t.flow(c.Data)
		}
		text += a.indent() + mark("object", c.ID.String()) + " " + body + "\n"
	}
	return text
}

// flow returns JSON in the flow style of YAML, in its order.
func (t *transcript) flow(message []byte) string {
	d := json.NewDecoder(bytes.NewReader(message))
	d.UseNumber()
	text, err := flowValue(d, "")
	if err != nil {
		t.failed = append(t.failed, fmt.Errorf("%w in %q", err, message))
	}
	return text
}

func flowValue(d *json.Decoder, key string) (string, error) {
	token, err := d.Token()
	if err != nil {
		return "", err
	}
	delimiter, nested := token.(json.Delim)
	if !nested {
		return flowScalar(token, key), nil
	}
	var parts []string
	for d.More() {
		if delimiter == '[' {
			part, err := flowValue(d, key)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
			continue
		}
		name, err := d.Token()
		if err != nil {
			return "", err
		}
		value, err := flowValue(d, fmt.Sprint(name))
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("%s: %s", name, value))
	}
	if _, err := d.Token(); err != nil {
		return "", err
	}
	if delimiter == '[' {
		return "[" + strings.Join(parts, ", ") + "]", nil
	}
	return "{" + strings.Join(parts, ", ") + "}", nil
}

// kinds are the fields whose values get a placeholder with a number.
var kinds = map[string]string{
	"nonce": "nonce", "agentNonce": "nonce", "token": "token", "key": "key", "instance": "instance", "finalize": "request", "finalized": "request",
}

var shortDigest = regexp.MustCompile("^[0-9a-f]{16}$")

func flowScalar(value json.Token, key string) string {
	text, isText := value.(string)
	switch key {
	case "at", "now", "latest", "startedAt", "lastSeen":
		return "<time>"
	case "size":
		return "<size>"
	}
	switch {
	case !isText:
		return fmt.Sprint(value)
	case text == "":
		return `""`
	case key == "objects":
		return flowObjects(text)
	case key == "signature", strings.HasSuffix(key, "Signature"):
		return "<signature>"
	case kinds[key] != "":
		return mark(kinds[key], text)
	case strings.HasPrefix(text, digestPrefix):
		return mark("digest", text)
	case shortDigest.MatchString(text):
		return mark("entry", text)
	}
	return text
}

// flowObjects returns a list of the names of objects.
func flowObjects(text string) string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return text
	}
	var all []string
	for id := range slices.Chunk(raw, len(link.ObjectID{})) {
		all = append(all, mark("object", fmt.Sprintf("%x", id)))
	}
	return "[" + strings.Join(all, ", ") + "]"
}
