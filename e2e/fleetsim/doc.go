// Package fleetsim simulates edge clusters, thousands of them in one process, for benchmarks and
// tests of a fleet. Each has an address, credentials and a store of its own and speaks the part of
// the Kubernetes API that Skerry and simple clients use, over TLS and HTTP/2.
//
// What it promises: who owns which field, conflicts, resource versions and watches are as on a real
// API server, for what the recorded trace in testdata covers; DESIGN.md lists what differs. What is
// the same on all edges (bodies, merged objects, sets of fields) is worked out and kept once.
package fleetsim
