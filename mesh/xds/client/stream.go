package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-mesh/sluice/mesh/xds"
)

const (
	// maxPause bounds the back-off, of connections and of streams.
	maxPause = 3 * time.Second
	// maxAnswer bounds an answer: the endpoints of a whole cluster come in one.
	maxAnswer = 256 << 20
	// maxReason bounds the text of a rejection.
	maxReason = 4 << 10
)

// dial connects lazily. A dead peer is noticed by TCP's probes in some five seconds while nothing is
// under way, and by gRPC's ping at the latest (which may not be sooner than every ten).
func (c *Client) dial() (*grpc.ClientConn, error) {
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}}
	conn, err := grpc.NewClient(c.options.Address,
		grpc.WithTransportCredentials(c.options.Credentials),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: maxPause},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.WaitForReady(true)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("dial control plane: %w", err)
	}
	return conn, nil
}

// follow opens one stream after the other.
func (c *Client) follow(ctx context.Context, changed func()) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, maxPause
	for {
		opened := c.options.Now()
		err := c.converse(ctx, conn, changed)
		if c.options.Now().Sub(opened) > maxPause {
			pause.Reset()
		}
		c.setStatus(func(s *Status) { s.Connected = false })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.log.Warn("lost the control plane", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// converse holds one stream to its end.
func (c *Client) converse(ctx context.Context, conn *grpc.ClientConn, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	node := c.node()
	for _, typeURL := range xds.Types {
		request := &discoveryv3.DeltaDiscoveryRequest{
			Node:                    node,
			TypeUrl:                 typeURL,
			ResourceNamesSubscribe:  []string{"*"},
			InitialResourceVersions: c.held.versions(typeURL),
		}
		node = nil
		if err := stream.Send(request); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	// A server that has nothing new to say does not answer, so an open stream has to do.
	c.setStatus(func(s *Status) { s.Connected = true })
	for {
		answer, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		reply := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: answer.GetTypeUrl(), ResponseNonce: answer.GetNonce()}
		if err := c.take(answer); err != nil {
			c.log.Error("reject configuration", "type", answer.GetTypeUrl(), "error", err)
			reply.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: clip(err.Error())}
			c.setStatus(func(s *Status) { s.Rejected = err.Error() })
		} else {
			c.setStatus(func(s *Status) { s.Rejected = "" })
			changed()
		}
		if err := stream.Send(reply); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
}

// take puts an answer in force, or nothing of it and says why.
func (c *Client) take(answer *discoveryv3.DeltaDiscoveryResponse) error {
	changes, refused, err := c.held.read(answer)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		c.log.Warn("keep newer splits than the control plane has", "routes", refused)
	}
	c.heldMu.Lock()
	defer c.heldMu.Unlock()
	meaning, undo, err := c.held.change(changes)
	if err != nil {
		return err
	}
	before := c.held.answered[answer.GetTypeUrl()]
	c.held.answered[answer.GetTypeUrl()] = true
	// Until every type has been answered there is only a part of a mesh, to which nothing refers yet.
	if !c.held.complete() || !meaning && c.Status().Configured {
		return nil
	}
	if err := c.options.Consumer.Apply(c.held.mesh()); err != nil {
		undo()
		c.held.answered[answer.GetTypeUrl()] = before
		return err
	}
	c.setStatus(func(s *Status) { s.Configured = true })
	return nil
}

func (c *Client) node() *corev3.Node {
	fields := map[string]*structpb.Value{}
	for key, value := range c.options.Node.Metadata {
		fields[key] = structpb.NewStringValue(value)
	}
	fields["agent"] = structpb.NewStringValue("sluice-proxy")
	fields["instance"] = structpb.NewStringValue(c.instance)
	return &corev3.Node{
		Id:            c.options.Node.ID,
		Cluster:       c.options.Node.Cluster,
		UserAgentName: "sluice-proxy",
		Metadata:      &structpb.Struct{Fields: fields},
	}
}

func clip(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return strings.ToValidUTF8(text, "?")
}
