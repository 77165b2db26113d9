// Package version holds the version of the program, which the linker sets.
package version

// Version is a tag, or what git describe says of a checkout ("v0.1.0-5-g1234567-dirty").
var Version = "unknown"
