package controlplane

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Stages of a request. A watch is at ResponseStarted for as long as it is open.
const (
	StageResponseStarted  = "ResponseStarted"
	StageResponseComplete = "ResponseComplete"
	StagePanic            = "Panic"
)

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// auditFlags has the server write each event before it answers, and never turn
// the file over: who reads it after a request finds that request.
func auditFlags(path string) []string {
	return []string{
		"--audit-policy-file", auditPolicyFile,
		"--audit-log-path", path,
		"--audit-log-mode", "blocking-strict",
		"--audit-log-maxsize", "0",
	}
}

// Request is one request that the API server has seen.
type Request struct {
	Time        time.Time // when it arrived
	Verb        string    // of Kubernetes, not HTTP: get, list, watch, create, update, patch, delete, deletecollection
	URI         string
	Group       string // API group, "" for core; so is Resource for paths like /readyz
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	User        string
	As          string // the user that was impersonated; "" for none
	UserAgent   string
	Code        int    // HTTP status
	Stage       string // the last that was reached
}

// AuditLog returns the path of the audit log: one JSON event of
// audit.k8s.io/v1 in a line. There is none without Options.AuditLog.
func (c *Cluster) AuditLog() string { return filepath.Join(c.dir, "audit.log") }

// Requests returns the requests that arrived at since or later, each once, in
// the order in which the server began to answer them. It holds those of all clients,
// the control plane's own included; tell them apart by User and UserAgent.
func (c *Cluster) Requests(since time.Time) ([]Request, error) {
	if !c.options.AuditLog {
		return nil, errors.New("cannot list requests: the cluster was started without Options.AuditLog")
	}
	log, err := os.Open(c.AuditLog())
	if err != nil {
		return nil, fmt.Errorf("cannot list requests: %w", err)
	}
	defer log.Close()
	requests, err := readAudit(log, since)
	if err != nil {
		return nil, fmt.Errorf("cannot list requests: %w", err)
	}
	return requests, nil
}

// auditEvent is the part of audit.k8s.io/v1 Event that we read.
type auditEvent struct {
	AuditID          string
	Stage            string
	RequestURI       string
	Verb             string
	User             struct{ Username string }
	ImpersonatedUser struct{ Username string }
	UserAgent        string
	ObjectRef        struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	}
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp metav1.MicroTime
}

// readAudit reads events up to the last whole line: the server may be writing.
func readAudit(log io.Reader, since time.Time) ([]Request, error) {
	var requests []Request
	index := map[string]int{} // audit ID → place in requests
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests, nil
		}
		if err != nil {
			return nil, err
		}
		var event auditEvent
		if err := json.Unmarshal(bytes.TrimSpace(line), &event); err != nil {
			return nil, fmt.Errorf("malformed audit event: %w", err)
		}
		if event.RequestReceivedTimestamp.Time.Before(since) {
			continue
		}
		if i, seen := index[event.AuditID]; seen {
			requests[i] = event.request()
			continue
		}
		index[event.AuditID] = len(requests)
		requests = append(requests, event.request())
	}
}

func (e *auditEvent) request() Request {
	return Request{
		Time:        e.RequestReceivedTimestamp.Time,
		Verb:        e.Verb,
		URI:         e.RequestURI,
		Group:       e.ObjectRef.APIGroup,
		Resource:    e.ObjectRef.Resource,
		Subresource: e.ObjectRef.Subresource,
		Namespace:   e.ObjectRef.Namespace,
		Name:        e.ObjectRef.Name,
		User:        e.User.Username,
		As:          e.ImpersonatedUser.Username,
		UserAgent:   e.UserAgent,
		Code:        e.ResponseStatus.Code,
		Stage:       e.Stage,
	}
}
