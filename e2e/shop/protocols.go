package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/e2e/hop"
)

// said is what the shop answers in every protocol but plain HTTP: who answered, and how.
func (s *service) said(ctx context.Context) (hop.Hop, error) {
	if err := s.wait(ctx); err != nil {
		return hop.Hop{}, err
	}
	h := hop.Hop{Service: s.name, Version: s.version, Status: http.StatusOK}
	if s.random() < s.errorRate {
		h.Status = http.StatusInternalServerError
	}
	return h, nil
}

// chat answers every message of a WebSocket with who answered it.
func (s *service) chat(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the client has been told
	}
	defer func() { _ = conn.Close() }()
	for {
		kind, _, err := conn.ReadMessage()
		if err != nil {
			return
		}
		h, err := s.said(r.Context())
		if err != nil || conn.WriteMessage(kind, []byte(hop.Format([]hop.Hop{h}))) != nil {
			return
		}
	}
}

// serveTCP speaks first: who it is; then it answers every line with who answered.
func (s *service) serveTCP(ctx context.Context, listener net.Listener) {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go s.converse(ctx, conn)
	}
}

func (s *service) converse(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	greeting := hop.Format([]hop.Hop{{Service: s.name, Version: s.version, Status: http.StatusOK}})
	if _, err := fmt.Fprintf(conn, "220 %s\n", greeting); err != nil {
		return
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		h, err := s.said(ctx)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintln(conn, hop.Format([]hop.Hop{h})); err != nil {
			return
		}
	}
}

// Names of the gRPC service. Its messages are those that every gRPC library has.
const (
	grpcService = "shop.Shop"
	grpcAsk     = "Ask"
	grpcChat    = "Chat"
)

// newGRPC serves /shop.Shop/Ask (one message for one) and /shop.Shop/Chat (a message for each).
func newGRPC(s *service) *grpc.Server {
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: grpcService,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: grpcAsk, Handler: func(srv any, ctx context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := read(&wrapperspb.StringValue{}); err != nil {
				return nil, err
			}
			return srv.(*service).reply(ctx, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) })
		}}},
		Streams: []grpc.StreamDesc{{StreamName: grpcChat, ClientStreams: true, ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			for {
				err := stream.RecvMsg(&wrapperspb.StringValue{})
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				answer, err := srv.(*service).reply(stream.Context(), stream.SetHeader)
				if err != nil {
					return err
				}
				if err := stream.SendMsg(answer); err != nil {
					return err
				}
			}
		}}},
	}, s)
	return server
}

// reply answers one message; who answered is in the header too, for answers that are errors.
func (s *service) reply(ctx context.Context, header func(metadata.MD) error) (*wrapperspb.StringValue, error) {
	h, err := s.said(ctx)
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	trace := hop.Format([]hop.Hop{h})
	// It fails for the second answer of a stream, whose header has gone.
	_ = header(metadata.Pairs(strings.ToLower(hop.HeaderVersion), s.version, strings.ToLower(hop.HeaderTrace), trace))
	if h.Status != http.StatusOK {
		return nil, status.Error(codes.Internal, "told to fail")
	}
	return wrapperspb.String(trace), nil
}

// serveGRPC answers until the context ends, then lets calls in flight finish for a while.
func serveGRPC(ctx context.Context, server *grpc.Server, listener net.Listener, grace time.Duration) {
	defer context.AfterFunc(ctx, func() {
		cut := time.AfterFunc(grace, server.Stop)
		defer cut.Stop()
		server.GracefulStop()
	})()
	if err := server.Serve(listener); err != nil {
		slog.Error("serve gRPC", "error", err)
	}
}
