package slackfake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// socket is one Socket Mode connection.
type socket struct {
	conn *websocket.Conn
	mu   sync.Mutex // one writer at a time
}

func (s *socket) send(message any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	return s.conn.WriteJSON(message)
}

// ticket makes the URL of a new connection, good for one use.
func (s *Server) ticket(r *http.Request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counter++
	ticket := fmt.Sprintf("ticket-%d", s.counter)
	s.tickets[ticket] = true
	scheme := "ws"
	if r.TLS != nil {
		scheme = "wss"
	}
	return fmt.Sprintf("%s://%s/link?ticket=%s&app_id=%s", scheme, r.Host, ticket, appID)
}

// link serves a Socket Mode connection until it ends.
func (s *Server) link(w http.ResponseWriter, r *http.Request) {
	if !s.up(w, r) {
		return
	}
	s.mu.Lock()
	ticket := r.URL.Query().Get("ticket")
	valid := s.tickets[ticket] && !s.closed
	delete(s.tickets, ticket)
	if valid {
		s.handlers.Add(1)
	}
	s.mu.Unlock()
	if !valid {
		http.Error(w, "ticket is not valid", http.StatusForbidden)
		return
	}
	defer s.handlers.Done()
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetReadLimit(20 << 10) // Slack ignores larger answers
	link := &socket{conn: conn}

	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.sockets = append(s.sockets, link)
	count := len(s.sockets)
	s.change()
	s.mu.Unlock()

	done := make(chan struct{})
	s.handlers.Go(func() { s.ping(link, done) })
	defer close(done)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sockets = slices.DeleteFunc(s.sockets, func(other *socket) bool { return other == link })
		s.change()
	}()

	if link.send(map[string]any{
		"type": "hello", "num_connections": count,
		"connection_info": map[string]any{"app_id": appID},
		"debug_info":      map[string]any{"host": "slackfake", "approximate_connection_time": 18060},
	}) != nil {
		return
	}
	for {
		var ack struct {
			EnvelopeID string `json:"envelope_id"`
		}
		if err := conn.ReadJSON(&ack); err != nil {
			return
		}
		s.mu.Lock()
		if pending := s.pending[ack.EnvelopeID]; pending != nil {
			pending <- time.Now()
			delete(s.pending, ack.EnvelopeID)
		}
		s.mu.Unlock()
	}
}

func (s *Server) ping(link *socket, done <-chan struct{}) {
	ticker := time.NewTicker(s.options.Ping)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if link.conn.WriteControl(websocket.PingMessage, []byte("Ping from slackfake"), time.Now().Add(time.Second)) != nil {
				return
			}
		}
	}
}

// Press is a person's press on a button.
type Press struct {
	// User is the person's ID, Name their name.
	User string `json:"user"`
	Name string `json:"name"`
	// Channel (ID), TS and ActionID name the button.
	Channel  string `json:"channel"`
	TS       string `json:"ts"`
	ActionID string `json:"action_id"`
	// Value, when not empty, stands in for the button's own: what a forger would send.
	Value string `json:"value,omitempty"`
	// Twice sends the envelope again after its acknowledgement, as Slack may.
	Twice bool `json:"twice,omitempty"`
}

// ErrNotAcknowledged is what a person sees as a warning sign beside the button.
var ErrNotAcknowledged = errors.New("press button: not acknowledged in time")

// Press presses a button that is there and returns how long the acknowledgement took. It fails when
// the message has no such button, nobody is connected, or nobody acknowledges in time.
func (s *Server) Press(ctx context.Context, press Press) (time.Duration, error) {
	s.mu.Lock()
	message := s.find(press.Channel, press.TS)
	if message == nil {
		s.mu.Unlock()
		return 0, fmt.Errorf("press button: no message %s in %s", press.TS, press.Channel)
	}
	buttons := message.Buttons()
	i := slices.IndexFunc(buttons, func(b Button) bool { return b.ActionID == press.ActionID })
	if i < 0 {
		s.mu.Unlock()
		return 0, fmt.Errorf("press button: message %s has no button %q", press.TS, press.ActionID)
	}
	button := buttons[i]
	if press.Value != "" {
		button.Value = press.Value
	}
	if len(s.sockets) == 0 || s.outage != Up {
		s.mu.Unlock()
		return 0, fmt.Errorf("press button: no socket is connected: %w", ErrNotAcknowledged)
	}
	link := s.sockets[len(s.sockets)-1]
	s.counter++
	envelope := fmt.Sprintf("envelope-%d", s.counter)
	payload, err := json.Marshal(s.payload(press, button, message))
	s.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("press button: %w", err)
	}
	took, err := s.interact(ctx, link, envelope, payload, 0)
	if err == nil && press.Twice {
		_, err = s.interact(ctx, link, envelope, payload, 1)
	}
	return took, err
}

func (s *Server) interact(ctx context.Context, link *socket, envelope string, payload json.RawMessage, attempt int) (time.Duration, error) {
	acknowledged := make(chan time.Time, 1)
	s.mu.Lock()
	s.pending[envelope] = acknowledged
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, envelope)
	}()
	start := time.Now()
	if err := link.send(map[string]any{
		"type": "interactive", "envelope_id": envelope, "payload": payload,
		"accepts_response_payload": false, "retry_attempt": attempt,
	}); err != nil {
		return 0, fmt.Errorf("press button: %w", err)
	}
	timer := time.NewTimer(s.options.AckWithin)
	defer timer.Stop()
	select {
	case at := <-acknowledged:
		return at.Sub(start), nil
	case <-timer.C:
		return 0, ErrNotAcknowledged
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// payload is a block_actions payload; the lock must be held.
func (s *Server) payload(press Press, button Button, message *Message) map[string]any {
	stamp := s.next()
	return map[string]any{
		"type":                  "block_actions",
		"user":                  map[string]any{"id": press.User, "username": press.Name, "name": press.Name, "team_id": teamID},
		"api_app_id":            appID,
		"token":                 "fake",
		"container":             map[string]any{"type": "message", "message_ts": message.TS, "channel_id": message.Channel, "is_ephemeral": false},
		"trigger_id":            "1.2." + stamp,
		"team":                  map[string]any{"id": teamID, "domain": "fake"},
		"enterprise":            nil,
		"is_enterprise_install": false,
		"channel":               map[string]any{"id": message.Channel, "name": "fake"},
		"message":               message.wire(),
		"state":                 map[string]any{"values": map[string]any{}},
		"actions": []map[string]any{{
			"type": "button", "action_id": button.ActionID, "block_id": button.BlockID, "action_ts": stamp,
			"text":  map[string]any{"type": "plain_text", "text": button.Label, "emoji": true},
			"value": button.Value,
		}},
	}
}
