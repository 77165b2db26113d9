package fleetsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Usage is what the simulator itself takes.
type Usage struct {
	HeapBytes  uint64 `json:"heapBytes"`  // in use
	SysBytes   uint64 `json:"sysBytes"`   // taken from the system
	Goroutines int    `json:"goroutines"` //
	Contents   int    `json:"contents"`   // objects that differ, over all edges
	Hits       int64  `json:"hits"`       // writes whose outcome was known
	Misses     int64  `json:"misses"`     // writes that had to be worked out
}

// Usage returns what the simulator takes. It collects garbage first when asked to.
func (f *Fleet) Usage(collect bool) Usage {
	if collect {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{
		HeapBytes: m.HeapInuse, SysBytes: m.Sys - m.HeapReleased, Goroutines: runtime.NumGoroutine(),
		Contents: f.transitions.contents.len(), Hits: f.transitions.hits.Load(), Misses: f.transitions.misses.Load(),
	}
}

// Control returns a handler through which another process watches and disturbs the fleet. In place
// of {edges} stands "all", a number, or a range such as "0-99":
//
//	GET    /edges                      names, addresses and faults
//	GET    /edges/{edges}/counters     Counters, summed up
//	GET    /edges/{edges}/writes       the writes by edge, as Edge.Writes
//	DELETE /edges/{edges}/writes       forget them
//	PUT    /edges/{edges}/fault?kind=slow&delay=10s&every=5s&retryAfter=1s&size=1000
//	DELETE /edges/{edges}/fault
//	PUT    /edges/{edges}/health?is=never-ready&workload=namespace/name
//	GET    /edges/{edges}/kubeconfig   of one edge
//	GET    /usage?collect=true         Usage
func (f *Fleet) Control() http.Handler {
	mux := http.NewServeMux()
	each := func(pattern string, do func([]*Edge, *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			edges, err := f.pick(r.PathValue("edges"))
			var out any
			if err == nil {
				out, err = do(edges, r)
			}
			answerControl(w, out, err)
		})
	}
	mux.HandleFunc("GET /edges", func(w http.ResponseWriter, _ *http.Request) { answerControl(w, f.describe(), nil) })
	mux.HandleFunc("GET /usage", func(w http.ResponseWriter, r *http.Request) {
		answerControl(w, f.Usage(r.FormValue("collect") != ""), nil)
	})
	each("GET /edges/{edges}/counters", func(edges []*Edge, _ *http.Request) (any, error) { return Sum(edges), nil })
	each("GET /edges/{edges}/writes", func(edges []*Edge, _ *http.Request) (any, error) {
		out := map[string][]Write{}
		for _, e := range edges {
			out[e.Name] = e.Writes()
		}
		return out, nil
	})
	each("DELETE /edges/{edges}/writes", func(edges []*Edge, _ *http.Request) (any, error) {
		for _, e := range edges {
			e.ForgetWrites()
		}
		return nil, nil
	})
	each("PUT /edges/{edges}/fault", setFaults)
	each("DELETE /edges/{edges}/fault", setFaults)
	each("PUT /edges/{edges}/health", setHealth)
	each("GET /edges/{edges}/kubeconfig", func(edges []*Edge, _ *http.Request) (any, error) {
		if len(edges) != 1 {
			return nil, fmt.Errorf("a kubeconfig is of one edge")
		}
		return edges[0].Kubeconfig(), nil
	})
	return mux
}

func answerControl(w http.ResponseWriter, out any, err error) {
	switch text, isText := out.([]byte); {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
	case isText:
		_, _ = w.Write(text)
	default:
		w.Header().Set("Content-Type", jsonType)
		_ = json.NewEncoder(w).Encode(out) // a client that is gone does not mind
	}
}

// pick returns the edges that are named.
func (f *Fleet) pick(s string) ([]*Edge, error) {
	if s == "all" {
		return f.Edges, nil
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err != nil || err2 != nil || first < 0 || last < first || last >= len(f.Edges) {
		return nil, fmt.Errorf("%q names no edges: there are 0-%d", s, len(f.Edges)-1)
	}
	return f.Edges[first : last+1], nil
}

// Description is an edge in a list.
type Description struct {
	Name  string    `json:"name"`
	URL   string    `json:"url"`
	UID   string    `json:"uid"`
	Fault FaultKind `json:"fault,omitempty"`
}

func (f *Fleet) describe() []Description {
	out := make([]Description, len(f.Edges))
	for i, e := range f.Edges {
		out[i] = Description{e.Name, e.URL(), e.UID(), e.Fault().Kind}
	}
	return out
}

func setFaults(edges []*Edge, r *http.Request) (any, error) {
	var f Fault
	if r.Method == http.MethodPut {
		f.Kind = FaultKind(r.FormValue("kind"))
		if f.Kind == NoFault {
			return nil, fmt.Errorf("kind is missing: one of %v", Faults)
		}
		for name, d := range map[string]*time.Duration{"delay": &f.Delay, "every": &f.Every, "retryAfter": &f.RetryAfter} {
			if s := r.FormValue(name); s != "" {
				var err error
				if *d, err = time.ParseDuration(s); err != nil || *d <= 0 {
					return nil, fmt.Errorf("%s is not a duration: %q", name, s)
				}
			}
		}
		if s := r.FormValue("size"); s != "" {
			var err error
			if f.Size, err = strconv.ParseInt(s, 10, 64); err != nil || f.Size <= 0 {
				return nil, fmt.Errorf("size is not a number of bytes: %q", s)
			}
		}
	}
	return nil, SetFaults(edges, f)
}

func setHealth(edges []*Edge, r *http.Request) (any, error) {
	h := Health(r.FormValue("is"))
	if h != Healthy && h != NeverReady && h != Failing {
		return nil, fmt.Errorf("there is no health %q", h)
	}
	namespace, name, one := strings.Cut(r.FormValue("workload"), "/")
	for _, e := range edges {
		if one {
			e.SetWorkloadHealth(namespace, name, h)
		} else {
			e.SetHealth(h)
		}
	}
	return nil, nil
}
