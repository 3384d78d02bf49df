package slackfake

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// Messages returns the messages in channels, replies included, in the order in which they were posted.
func (s *Server) Messages() []Message {
	return s.list(func(m *Message) bool { return m.Only == "" })
}

// Ephemerals returns the messages that single users were shown.
func (s *Server) Ephemerals() []Message {
	return s.list(func(m *Message) bool { return m.Only != "" })
}

// Posts returns the messages that are no replies, Replies those to one message.
func (s *Server) Posts() []Message {
	return s.list(func(m *Message) bool { return m.Only == "" && m.ThreadTS == "" })
}

// Replies returns the replies in one message's thread.
func (s *Server) Replies(channel, ts string) []Message {
	return s.list(func(m *Message) bool { return m.Only == "" && m.Channel == channel && m.ThreadTS == ts })
}

func (s *Server) list(keep func(*Message) bool) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Message
	for _, message := range s.messages {
		if keep(message) {
			list = append(list, *message)
		}
	}
	return list
}

// Calls returns every Web API call so far.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Sockets returns how many Socket Mode connections there are.
func (s *Server) Sockets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets)
}

// SetOutage begins or ends an outage.
func (s *Server) SetOutage(outage Outage) {
	s.mu.Lock()
	if s.outage == Hang && outage != Hang {
		close(s.resume)
		s.resume = make(chan struct{})
	}
	s.outage = outage
	s.change()
	s.mu.Unlock()
	if outage == Unavailable {
		for _, socket := range s.release() {
			socket.conn.Close()
		}
	}
}

// RateLimit answers the next calls of a method ("" for any) with 429 and Retry-After in whole seconds.
func (s *Server) RateLimit(method string, calls int, after time.Duration) {
	s.addFault(&fault{method: method, left: calls, status: http.StatusTooManyRequests, after: after})
}

// Fail answers the next calls of a method ("" for any) with one of Slack's error codes.
func (s *Server) Fail(method string, calls int, code string) {
	s.addFault(&fault{method: method, left: calls, code: code})
}

func (s *Server) addFault(f *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.left > 0 {
		s.faults = append(s.faults, f)
	}
}

// SetTokens makes other tokens the valid ones.
func (s *Server) SetTokens(bot, app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.botToken, s.appToken = bot, app
}

// Delete takes a message away, as a person may.
func (s *Server) Delete(channel, ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = slices.DeleteFunc(s.messages, func(m *Message) bool { return m.Channel == channel && m.TS == ts })
	s.change()
}

// Disconnect asks every client to connect anew, as Slack does every few hours, and closes.
func (s *Server) Disconnect() {
	for _, socket := range s.release() {
		_ = socket.send(map[string]any{"type": "disconnect", "reason": "refresh_requested", "debug_info": map[string]any{"host": "slackfake"}})
		socket.conn.Close()
	}
}

// Drop cuts every socket without a word.
func (s *Server) Drop() {
	for _, socket := range s.release() {
		socket.conn.NetConn().Close()
	}
}

// release returns the sockets, which are the workspace's no more.
func (s *Server) release() []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	sockets := s.sockets
	s.sockets = nil
	s.change()
	return sockets
}

// Wait returns when condition holds, which it checks at every change, or with ctx's error.
func (s *Server) Wait(ctx context.Context, condition func() bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
