// Package handover shows that of several hubs one works at a time, by what the API servers of hub and
// edge have seen.
package handover
