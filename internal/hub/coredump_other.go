//go:build !linux

package hub

func forbidCoreDumps() {}
