package controlplane

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// StartKine starts a kine on SQLite in place of an etcd, with flags beside its own. binary is what
// `make e2e-kine` builds. The data survives Stop and Restart.
func StartKine(ctx context.Context, dir, binary string, flags ...string) (*Etcd, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot start kine: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot start kine: %w", err)
	}
	e := &Etcd{dir: dir}
	if e.ports[0], err = reservePort(); err != nil {
		return nil, fmt.Errorf("cannot start kine: %w", err)
	}
	e.url = "http://" + e.ports[0].address()
	args := append([]string{
		"--listen-address", e.ports[0].address(),
		"--endpoint", "sqlite://" + filepath.Join(dir, "state.db") + "?_journal=WAL&cache=shared&_busy_timeout=30000&_synchronous=OFF",
		"--metrics-bind-address", "0",
	}, flags...)
	e.again = func(ctx context.Context) error {
		if e.process, err = launch(dir, "kine", binary, args...); err != nil {
			return err
		}
		return e.process.until(ctx, func(ctx context.Context) error {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.ports[0].address())
			if err != nil {
				return err
			}
			return c.Close()
		})
	}
	if err := e.again(ctx); err != nil {
		e.Stop()
		return nil, fmt.Errorf("cannot start kine: %w", err)
	}
	return e, nil
}

// Restart kills a kine and starts it again on the same data, at the same address.
func (e *Etcd) Restart(ctx context.Context) error {
	e.process.kill()
	return e.again(ctx)
}
