// Package fence holds back what a process would send while another one may have its place. It promises that
// a hub without its lease writes nothing, to its own API server and to the edges, and that a hub which could
// not renew its lease goes on only when no other hub can have held it meanwhile.
//
// Package guard is the side of the transports: a Fence is asked right before a request or a byte goes out.
// lease.go is the side of leader election: Lease implements Fence by the renewals of a lease.
package fence

import "github.com/skerry-dev/skerry/internal/fence/guard"

// Fence reports whether this process may still act; see guard.Fence.
type Fence = guard.Fence
