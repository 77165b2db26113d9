// Package controlplane runs real Kubernetes control planes as child processes,
// for tests, benchmarks and the demo, without a container engine.
//
// A Cluster is one kube-apiserver of its own, with its own certificate
// authority, and as much of the rest of Kubernetes as Options asks for. One
// Etcd serves several clusters, each under a prefix of its own.
//
// What it promises:
//   - no process outlives the one that started it, however that one ends;
//   - two users on one machine do not interfere: ports are reserved, and every
//     file is below the directory that was given;
//   - nothing is skipped when the programs are missing: starting fails and says
//     how to build them.
//
// Stopping is always SIGKILL. The data is there to be thrown away, and a
// control plane has to survive it anyway.
package controlplane
