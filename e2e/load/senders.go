package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/e2e/hop"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// sender makes one request and tells how it ended.
type sender interface {
	send(ctx context.Context) ledger.End
}

// newSender speaks what the URL's scheme says: http, grpc, ws or tcp.
func newSender(p plan) (sender, error) {
	u, err := url.Parse(p.url)
	if err != nil {
		return nil, fmt.Errorf("parse url: %w", err)
	}
	switch u.Scheme {
	case "http":
		if p.cookies > 0 {
			return newVisitors(p), nil
		}
		return newHTTPSender(p), nil
	case "grpc":
		conn, err := grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", u.Host, err)
		}
		return &grpcSender{conn: conn}, nil
	case "ws":
		return webSocketSender{p.url}, nil
	case "tcp":
		return tcpSender{u.Host}, nil
	default:
		return nil, fmt.Errorf("check url: scheme %q is not http, grpc, ws or tcp", u.Scheme)
	}
}

// httpSender sends a GET.
type httpSender struct {
	plan   plan
	client *http.Client
}

func newHTTPSender(p plan) *httpSender { return &httpSender{plan: p, client: newClient()} }

// newClient makes a client that shows answers as they are.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: idle, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// onceBody is an empty body that the transport cannot rewind: without it the transport would
// silently send a GET again whose connection broke, and hide what the mesh did.
type onceBody struct{}

func (onceBody) Read([]byte) (int, error) { return 0, io.EOF }
func (onceBody) Close() error             { return nil }

func (s *httpSender) send(ctx context.Context) ledger.End { return s.get(ctx, s.client) }

func (s *httpSender) get(ctx context.Context, client *http.Client) ledger.End {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.plan.url, onceBody{})
	if err != nil {
		return lost(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
	}
	if err != nil {
		return lost(err)
	}
	return judge(resp.Header, resp.StatusCode, s.plan.service)
}

// grpcSender makes calls on one connection, every other one a conversation of several messages.
type grpcSender struct {
	conn *grpc.ClientConn
	sent atomic.Uint64
}

func (s *grpcSender) send(ctx context.Context) ledger.End {
	var header metadata.MD
	var err error
	if s.sent.Add(1)%2 == 0 {
		err = s.conn.Invoke(ctx, "/shop.Shop/Ask", wrapperspb.String("who?"), &wrapperspb.StringValue{}, grpc.Header(&header))
	} else {
		header, err = s.chat(ctx)
	}
	code := http.StatusOK
	if err != nil {
		code = http.StatusInternalServerError
		if len(header.Get(hop.HeaderVersion)) == 0 { // no word of the application
			if status.Code(err) == codes.DeadlineExceeded {
				err = errors.Join(context.DeadlineExceeded, err)
			}
			return lost(err)
		}
	}
	return judge(http.Header{
		hop.HeaderVersion: header.Get(hop.HeaderVersion), hop.HeaderTrace: header.Get(hop.HeaderTrace),
	}, code, "")
}

// chatted is how many messages a conversation has in each direction.
const chatted = 3

func (s *grpcSender) chat(ctx context.Context) (metadata.MD, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/shop.Shop/Chat")
	if err != nil {
		return nil, err
	}
	for range chatted {
		if err = stream.SendMsg(wrapperspb.String("who?")); err == nil || errors.Is(err, io.EOF) {
			err = stream.RecvMsg(&wrapperspb.StringValue{}) // tells why, when sending only says that it has ended
		}
		if err != nil {
			break
		}
	}
	header, _ := stream.Header() // what there is of it, also after an error
	if err != nil {
		return header, err
	}
	if err := stream.CloseSend(); err != nil {
		return header, err
	}
	if err := stream.RecvMsg(&wrapperspb.StringValue{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("conversation did not end: %w", err)
	}
	return header, nil
}

// webSocketSender opens a WebSocket, asks, and closes it: one connection a request.
type webSocketSender struct{ url string }

func (s webSocketSender) send(ctx context.Context) ledger.End {
	conn, resp, err := websocket.DefaultDialer.DialContext(ctx, s.url, nil) //nolint:bodyclose // nothing of it is left to close
	if err != nil {
		if resp != nil {
			return ledger.End{Lost: fmt.Sprintf("status %d", resp.StatusCode), Detail: err.Error()}
		}
		return lost(err)
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = errors.Join(conn.SetReadDeadline(deadline), conn.SetWriteDeadline(deadline))
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("who?")); err != nil {
		return lost(err)
	}
	_, answer, err := conn.ReadMessage()
	if err != nil {
		return lost(err)
	}
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := conn.WriteMessage(websocket.CloseMessage, bye); err != nil {
		return lost(err)
	}
	return told(string(answer))
}

// tcpSender opens a connection, waits for the server's greeting, asks, and closes: one connection a request.
type tcpSender struct{ address string }

func (s tcpSender) send(ctx context.Context) ledger.End {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return lost(err)
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	lines := bufio.NewReader(conn)
	if _, err := lines.ReadString('\n'); err != nil {
		return lost(err)
	}
	if _, err := io.WriteString(conn, "who?\n"); err != nil {
		return lost(err)
	}
	answer, err := lines.ReadString('\n')
	if err != nil {
		return lost(err)
	}
	return told(strings.TrimSuffix(answer, "\n"))
}

// told tells from an answer's text who made it.
func told(answer string) ledger.End {
	hops, err := hop.Parse(answer)
	if err != nil || len(hops) == 0 {
		return ledger.End{Lost: "trace", Detail: answer}
	}
	return ledger.End{Version: hops[0].Version, Status: hops[0].Status}
}

// judge tells from a complete response who made it.
func judge(header http.Header, code int, service string) ledger.End {
	version := header.Get(hop.HeaderVersion)
	if version == "" {
		return ledger.End{Lost: fmt.Sprintf("status %d", code), Detail: header.Get("Server")}
	}
	hops, err := hop.Parse(header.Get(hop.HeaderTrace))
	if err != nil {
		return ledger.End{Lost: "trace", Detail: err.Error()}
	}
	end := ledger.End{Version: version, Status: code}
	for _, h := range hops {
		if h.Lost() {
			return ledger.End{Lost: fmt.Sprintf("status %d to %s", h.Status, h.Service), Detail: hop.Format(hops)}
		}
		if service != "" && h.Service == service {
			end = ledger.End{Version: h.Version, Status: h.Status}
		}
	}
	return end
}

// lost tells of a request that got no complete response.
func lost(err error) ledger.End { return ledger.End{Lost: reason(err), Detail: err.Error()} }
