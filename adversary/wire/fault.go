package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"artemis.example/adversary"
)

var errNonsense = errors.New("malformed answer")

// proxyError is what a pod's outbound listener answers where a captured
// connection would have failed.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return fmt.Sprintf("the pod's own proxy answered %d %s", e.status, http.StatusText(e.status))
}

// failed names the fault of an error.
func failed(e *adversary.Evidence, err error) *adversary.Evidence {
	e.Error = err.Error()
	e.Fault = fault(err)
	return e
}

func fault(err error) adversary.Fault {
	var dns *net.DNSError
	var proxied *proxyError
	switch {
	case errors.As(err, &proxied) && proxied.status == http.StatusGatewayTimeout:
		return adversary.TimedOut
	case errors.As(err, &proxied):
		return adversary.Refused
	case errors.As(err, &dns):
		return adversary.NoSuchName
	case errors.Is(err, syscall.ECONNREFUSED):
		return adversary.Refused
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return adversary.NotPermitted
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return adversary.Unreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return adversary.TimedOut
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return adversary.Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return adversary.Closed
	}
	return adversary.Garbled
}
