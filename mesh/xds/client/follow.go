package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

const (
	// maxPause bounds the back-off.
	maxPause = 3 * time.Second
	// maxReason bounds the text of a rejection.
	maxReason = 4 << 10
)

// follow opens one stream after the other.
func (c *Client) follow(ctx context.Context) error {
	transport := c.options.newTransport()
	defer transport.CloseIdleConnections()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, maxPause
	for {
		opened := c.options.Now()
		err := c.converse(ctx, transport)
		// Another connection may lead to another replica.
		transport.CloseIdleConnections()
		if c.options.Now().Sub(opened) > maxPause {
			pause.Reset()
		}
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
func (c *Client) converse(ctx context.Context, transport *http.Transport) error {
	defer c.lost()
	stream, err := c.options.open(ctx, transport, c.greeting())
	if err != nil {
		return err
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stream.close()
	c.opened()
	done, answers, broken := make(chan struct{}), make(chan *response), make(chan error, 1)
	defer close(done)
	reading.Go(func() { broken <- read(stream, answers, done) })
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			if errors.Is(err, errNonsense) {
				c.reject(err)
			}
			return err
		case <-c.names.wake:
			if news := c.news(); news != nil {
				err = stream.send(news.encode())
			}
		case answer := <-answers:
			var reply *request
			if reply, err = c.reply(answer); err == nil {
				err = stream.send(reply.encode())
			}
		}
		if err != nil {
			return err
		}
	}
}

// errNonsense marks what cannot even be read.
var errNonsense = errors.New("nonsense from the control plane")

// read passes on one answer after the other.
func read(stream *stream, answers chan<- *response, done <-chan struct{}) error {
	for {
		message, err := stream.receive()
		if err != nil {
			return err
		}
		answer, err := decodeResponse(message)
		if err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		select {
		case answers <- answer:
		case <-done:
			return nil
		}
	}
}

// greeting asks a new stream for all that we ask for, and says what we have of it.
func (c *Client) greeting() []byte {
	c.applying.Lock()
	defer c.applying.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	first := request{node: &c.node, typeURL: part.Type, subscribe: c.names.begin(), versions: c.held.versions()}
	slices.Sort(first.subscribe)
	return first.encode()
}

func (c *Client) opened() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names.opened()
}

func (c *Client) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names.lost()
}

// news is what the stream has to be told of names; nil when there is nothing.
func (c *Client) news() *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	subscribe, unsubscribe := c.names.news()
	if len(subscribe)+len(unsubscribe) == 0 {
		return nil
	}
	return &request{typeURL: part.Type, subscribe: subscribe, unsubscribe: unsubscribe}
}

// reply puts an answer in force and acknowledges it, or rejects it with the reason. With an error, the stream
// is of no use.
func (c *Client) reply(answer *response) (*request, error) {
	reply := &request{typeURL: answer.typeURL, nonce: answer.nonce}
	err := c.take(answer)
	if err != nil {
		c.reject(err)
		reply.refusal = clip(err.Error())
	}
	if errors.Is(err, errForeign) {
		return nil, err
	}
	return reply, nil
}

func (c *Client) reject(err error) {
	c.log.Error("reject configuration", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Rejected = err.Error()
	c.status.Rejections++
}

// take puts an answer in force, or nothing of it and says why. Names that we have ceased to ask for are passed
// over.
func (c *Client) take(answer *response) error {
	c.applying.Lock()
	defer c.applying.Unlock()
	changes, err := c.read(answer)
	if err == nil {
		err = c.held.put(changes, c.complete(changes), c.options.Consumer)
	}
	if err != nil {
		// The control plane sends again, one at a time, what was refused together. Nobody waits for more.
		if len(answer.resources)+len(answer.removed) == 1 {
			c.answered(changes)
			c.begin()
		}
		return err
	}
	c.forget(c.answered(changes))
	c.settled(func(s *Status) { s.Rejected = "" })
	return nil
}

// begin puts in force what was waiting for what has now been refused for good.
func (c *Client) begin() {
	if c.held.applied || !c.complete(nil) {
		return
	}
	if err := c.held.put(nil, true, c.options.Consumer); err != nil {
		c.log.Error("begin with what there is", "error", err)
		return
	}
	c.settled(func(*Status) {})
}

// read turns an answer into changes; nil is a name that leads nowhere.
func (c *Client) read(answer *response) (map[string]*holding, error) {
	changes := make(map[string]*holding, len(answer.resources)+len(answer.removed))
	var errs []error
	if answer.typeURL != part.Type {
		return changes, fmt.Errorf("an answer of type %q, which was not asked for", answer.typeURL)
	}
	for _, name := range answer.removed {
		if name == part.Settings {
			return changes, errForeign
		}
		if c.asks(name) {
			changes[name] = nil
		}
	}
	for _, sent := range answer.resources {
		if !c.asks(sent.name) {
			continue
		}
		changes[sent.name] = nil
		made, kept, err := c.held.read(sent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if kept {
			c.log.Warn("keep a newer split than the control plane has", "part", sent.name)
		}
		changes[sent.name] = made
	}
	return changes, errors.Join(errs...)
}

func (c *Client) asks(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names.all[name] != nil
}

// complete reports whether with these changes all is there that a proxy begins with.
func (c *Client) complete(changes map[string]*holding) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.ContainsFunc(c.pinned, func(name string) bool {
		_, now := changes[name]
		return !now && !c.names.all[name].settled
	})
}

// answered tells those who wait that these names are answered. It returns the parts that have come for names
// that we have ceased to ask for meanwhile.
func (c *Client) answered(changes map[string]*holding) (stray map[string]*holding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stray = map[string]*holding{}
	for name := range changes {
		found := c.names.all[name]
		switch {
		case found != nil:
			c.names.answer(found, c.held.parts[name] != nil)
		case c.held.parts[name] != nil:
			stray[name] = nil
		}
	}
	return stray
}

func clip(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return strings.ToValidUTF8(text, "?")
}
