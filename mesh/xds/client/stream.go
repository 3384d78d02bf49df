package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	// maxMessage bounds an answer. The control plane sends some 1 MiB at a time, and more only for a service
	// that is larger by itself.
	maxMessage = 32 << 20
	// patience bounds how long the control plane may take to open a stream, and to take a request.
	patience = 10 * time.Second
)

var errSlow = fmt.Errorf("the control plane has not taken a request for %s", patience)

// newTransport makes the HTTP/2 transport for gRPC's framing. A dead peer is noticed in some five seconds by
// TCP's probes while nothing is under way, and by HTTP/2's pings at the latest.
func (o *Options) newTransport() *http.Transport {
	dialer := &net.Dialer{
		Timeout:         3 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(o.TLS != nil)
	protocols.SetUnencryptedHTTP2(o.TLS == nil)
	return &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: o.TLS, TLSHandshakeTimeout: 3 * time.Second,
		Protocols: protocols, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 10 * time.Second, PingTimeout: 3 * time.Second, WriteByteTimeout: patience,
			// What the control plane may send ahead of us reading it.
			MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 256 << 10,
		},
	}
}

// stream is one gRPC call. Send and receive may be called at the same time, each from one goroutine.
type stream struct {
	cancel   context.CancelCauseFunc
	requests *io.PipeWriter
	response *http.Response
}

// open calls the control plane and returns when it has accepted the stream, with its first request. The
// context ends the stream.
func (o *Options) open(ctx context.Context, transport *http.Transport, first []byte) (*stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	taken, requests := io.Pipe()
	target := url.URL{Scheme: "http", Host: o.Address, Path: method}
	if o.TLS != nil {
		target.Scheme = "https"
	}
	call := (&http.Request{
		Method: http.MethodPost, URL: &target, Host: o.Address, Body: taken, ContentLength: -1,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {agent}},
	}).WithContext(ctx)
	s := &stream{cancel: cancel, requests: requests}
	impatience := time.AfterFunc(patience, func() { cancel(errSlow) })
	defer impatience.Stop()
	// The transport reads it once it is connected; where it never is, close ends the write.
	sent := make(chan error, 1)
	go func() {
		defer close(sent)
		sent <- s.write(first)
	}()
	response, err := transport.RoundTrip(call) //nolint:bodyclose // by close
	if err == nil {
		s.response = response
		err = accepted(response)
	}
	if err == nil {
		err = <-sent
	}
	if err != nil {
		err = cmp.Or(context.Cause(ctx), err)
		s.close()
		for range sent { // wait for its goroutine
		}
		return nil, fmt.Errorf("open stream: %w", err)
	}
	return s, nil
}

// accepted reports what is wrong with the head of a response.
func accepted(response *http.Response) error {
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the control plane answers with HTTP status %d: is its address right?", response.StatusCode)
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/grpc") {
		return fmt.Errorf("the control plane answers with content of type %q instead of gRPC: is its address right?", kind)
	}
	if response.Header.Get("Grpc-Status") != "" {
		return refusal(response.Header)
	}
	return nil
}

// refusal is gRPC's status as an error.
func refusal(trailer http.Header) error {
	code, reason := trailer.Get("Grpc-Status"), trailer.Get("Grpc-Message")
	if plain, err := url.PathUnescape(reason); err == nil {
		reason = plain
	}
	switch code {
	case "":
		return errors.New("the control plane broke off the stream")
	case "0":
		return errors.New("the control plane ended the stream")
	default:
		return fmt.Errorf("the control plane ended the stream with gRPC status %s: %s", code, clip(reason))
	}
}

// send sends a message; a control plane that does not take it in time loses the stream.
func (s *stream) send(message []byte) error {
	impatience := time.AfterFunc(patience, func() { s.cancel(errSlow) })
	defer impatience.Stop()
	return s.write(message)
}

// write frames a message as gRPC does: a byte that says that it is not compressed, its length, itself.
func (s *stream) write(message []byte) error {
	frame := binary.BigEndian.AppendUint32(make([]byte, 1, 5+len(message)), uint32(len(message))) //nolint:gosec // far below 4 GiB
	if _, err := s.requests.Write(append(frame, message...)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// receive returns the next message. An error ends the stream and says why, in the control plane's words where
// it has given any.
func (s *stream) receive() ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(s.response.Body, head[:]); err != nil {
		return nil, s.ended(err)
	}
	length := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 {
		return nil, errors.New("receive: the message is compressed, which was not asked for")
	}
	if length > maxMessage {
		return nil, fmt.Errorf("receive: a message of %d bytes, the limit is %d", length, maxMessage)
	}
	// Memory grows with what comes, not with what is announced.
	var message bytes.Buffer
	if _, err := io.CopyN(&message, s.response.Body, int64(length)); err != nil {
		return nil, s.ended(err)
	}
	return message.Bytes(), nil
}

func (s *stream) ended(err error) error {
	if errors.Is(err, io.EOF) {
		return refusal(s.response.Trailer)
	}
	return fmt.Errorf("receive: %w", err)
}

// close ends the stream, and whatever is being sent or received.
func (s *stream) close() {
	s.cancel(nil)
	_ = s.requests.CloseWithError(net.ErrClosed)
	if s.response != nil {
		_ = s.response.Body.Close()
	}
}
