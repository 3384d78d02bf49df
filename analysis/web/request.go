package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut}

// make checks a request. Errors name the field, never its value where that may be secret.
func (r Request) make(ctx context.Context) (*http.Request, error) {
	address, err := url.Parse(r.URL)
	switch {
	case err != nil, address.Scheme != "http" && address.Scheme != "https", address.Host == "":
		return nil, errors.New("url: not an http or https URL")
	case address.User != nil:
		return nil, errors.New("url: it holds credentials; send them in a header, or give them to the connection")
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	if !slices.Contains(methods, method) {
		return nil, fmt.Errorf("method: it is none of %s", strings.Join(methods, ", "))
	}
	if method == http.MethodGet && r.Body != "" {
		return nil, errors.New("body: a GET has none; use POST")
	}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), strings.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("url: no request can be made of it")
	}
	request.Header.Set("Accept", "application/json")
	if r.Body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.Headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("headers: %q is not a header's name", line([]byte(name)))
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("headers: the value of %s has characters that none may have, such as a line break", name)
		case http.CanonicalHeaderKey(name) == "Host":
			request.Host = value
		}
		request.Header.Set(name, value)
	}
	return request, nil
}

// sameServer follows redirects only to the server that was asked, since headers go with them.
func sameServer(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	switch {
	case next.URL.Scheme != first.Scheme || !strings.EqualFold(next.URL.Host, first.Host):
		return fmt.Errorf("redirected to another server (%s), which is not followed: ask that one, if it is the right one",
			line([]byte(next.URL.Scheme+"://"+next.URL.Host)))
	case len(before) > redirects:
		return fmt.Errorf("redirected more than %d times", redirects)
	}
	return nil
}

// metadata is the address, besides the link-local ones, at which a cloud gives credentials to its machines.
var metadata = netip.MustParseAddr("fd00:ec2::254")

// Dialer dials servers, but not at addresses that are reachable from here only: those of this machine, and of
// the cloud's credentials for it. It looks at what a name was resolved to.
func Dialer(loopback bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	dialer.Control = func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return errors.New("not an address")
		}
		switch ip := at.Addr().WithZone("").Unmap(); {
		case ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip == metadata:
			return errors.New("link-local addresses are not asked")
		case !loopback && (ip.IsLoopback() || ip.IsUnspecified()):
			return errors.New("addresses of the operator itself are not asked")
		}
		return nil
	}
	return dialer.DialContext
}

// line makes one line of at most 200 characters of what came from elsewhere.
func line(text []byte) string {
	var b strings.Builder
	for n := 0; len(text) > 0 && n < shown; n++ {
		r, size := utf8.DecodeRune(text)
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			r = ' '
		}
		b.WriteRune(r)
		text = text[size:]
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
