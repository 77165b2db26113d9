// Package rig puts together what the demo, the end-to-end tests and the benchmarks run on: the
// real binaries as processes, a hub's API server, edges, and a Git host. It waits by watching API
// servers and never by sleeping, and leaves no process behind: children die with their parent even
// when that is killed.
package rig
