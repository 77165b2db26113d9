package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"syscall"

	"github.com/skerry-dev/skerry/internal/health"
)

// unreachableMessage explains why a cluster did not answer, in words that are the same each time: no
// ports of our own, no addresses that change.
func unreachableMessage(err error) string {
	var dns *net.DNSError
	var netErr net.Error
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "its certificate is signed by an unknown authority"
	case errors.As(err, &hostname):
		return "its certificate is for another name"
	case errors.As(err, &invalid):
		return "its certificate is not valid"
	case errors.As(err, &dns):
		return health.Clean("its name cannot be looked up: " + dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "no answer in time"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection lost"
	}
	return "no usable answer"
}
