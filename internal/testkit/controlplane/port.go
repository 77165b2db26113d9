package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// port is a TCP port of the loopback address, ours until released.
//
// A free port cannot be handed to a child as a number without a gap in which
// another process takes it. The UDP port of the same number is held meanwhile:
// every caller of this package looks there first, in any process,
// and the kernel gives it back whatever happens to us. The numbers lie below
// those that the kernel hands out by itself.
type port struct {
	number int
	held   net.PacketConn
}

const (
	lowestPort  = 12000
	highestPort = 32000
)

func reservePort() (*port, error) {
	var errs []error
	for range 50 {
		p, err := tryPort(lowestPort + rand.IntN(highestPort-lowestPort))
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("cannot find a free port: %w", errors.Join(errs...))
}

func tryPort(number int) (*port, error) {
	p := &port{number: number}
	held, err := net.ListenPacket("udp", p.address())
	if err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", p.address())
	if err != nil {
		held.Close()
		return nil, err
	}
	p.held = held
	return p, free.Close()
}

func (p *port) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

func (p *port) release() {
	if p != nil {
		p.held.Close()
	}
}
