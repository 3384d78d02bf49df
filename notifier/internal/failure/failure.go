// Package failure says in a few words why an HTTP request got no answer, without the words of the
// network stack, which name URL and host. It does not know which of them is secret, so it shows none.
package failure

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Reason puts err into words that hold nothing of the request or the answer.
func Reason(err error) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "its host name does not resolve"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not trusted, not valid now, or for another host"
	}
	if errors.Is(err, context.Canceled) {
		return "canceled"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return "it did not answer in time"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it closed the connection without an answer"
	}
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, shape := errors.AsType[*json.UnmarshalTypeError](err)
	if syntax || shape {
		return "its answer is not the JSON it should be"
	}
	return "no answer"
}
