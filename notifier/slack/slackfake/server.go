// Package slackfake is a Slack workspace small enough to run beside a test or a demonstration: the Web
// API methods and the Socket Mode that Sluice uses, over real HTTP and WebSocket, with switches for
// what goes wrong in a real one (rate limits, outages, revoked tokens, disconnects). It keeps to
// Slack's documented limits and errors, so that a message which Slack would refuse is refused here.
// It knows nothing of Sluice.
//
// The client's API URL is the server's address followed by /api/. Under /control/ the same switches
// are there for programs in other processes; see control.go.
package slackfake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a Server. Zero values mean the defaults named with the fields.
type Options struct {
	// BotToken and AppToken are the tokens that are valid at first ("xoxb-fake", "xapp-fake").
	BotToken, AppToken string
	// Channels are the workspace's, ID by name. Empty: every channel exists.
	Channels map[string]string
	// Ping is how often a socket gets a WebSocket ping (5 seconds).
	Ping time.Duration
	// AckWithin is how long a press waits for its acknowledgement (3 seconds, as Slack does).
	AckWithin time.Duration
}

// Server is the workspace; an http.Handler. All methods are safe for concurrent use. Close it.
type Server struct {
	options Options
	mux     *http.ServeMux

	mu       sync.Mutex
	changed  chan struct{}
	botToken string
	appToken string
	channels map[string]string
	stamp    int64
	messages []*Message
	calls    []Call
	faults   []*fault
	outage   Outage
	resume   chan struct{}

	tickets  map[string]bool
	sockets  []*socket
	pending  map[string]chan time.Time
	counter  int
	closed   bool
	handlers sync.WaitGroup
}

// Message is what somebody sees.
type Message struct {
	// Channel is the channel's ID, TS the message's time stamp, which is its name in the channel.
	Channel string `json:"channel"`
	TS      string `json:"ts"`
	// ThreadTS is the message that this one replies to; empty for none.
	ThreadTS string `json:"thread_ts,omitempty"`
	// Only is the user that alone sees it, when it is ephemeral.
	Only        string          `json:"only,omitempty"`
	Text        string          `json:"text"`
	Blocks      json.RawMessage `json:"blocks,omitempty"`
	Attachments json.RawMessage `json:"attachments,omitempty"`
	// Edits counts the updates.
	Edits int `json:"edits"`
}

// Call is one request to the Web API.
type Call struct {
	Method string `json:"method"`
	// Answer is "ok", Slack's error code, or the HTTP status.
	Answer string    `json:"answer"`
	At     time.Time `json:"at"`
}

// Outage is how Slack is away.
type Outage string

// The ways to be away.
const (
	// Up is no outage.
	Up Outage = ""
	// Unavailable answers everything with 503 and closes every socket.
	Unavailable Outage = "unavailable"
	// Hang answers nothing until the outage is over, and leaves sockets silent.
	Hang Outage = "hang"
)

// fault is what the next calls of a method get in place of an answer.
type fault struct {
	method string
	left   int
	status int
	after  time.Duration
	code   string
}

// New returns a workspace with nobody connected.
func New(options Options) *Server {
	if options.BotToken == "" {
		options.BotToken = "xoxb-fake"
	}
	if options.AppToken == "" {
		options.AppToken = "xapp-fake"
	}
	if options.Ping <= 0 {
		options.Ping = 5 * time.Second
	}
	if options.AckWithin <= 0 {
		options.AckWithin = 3 * time.Second
	}
	s := &Server{
		options: options, mux: http.NewServeMux(),
		changed: make(chan struct{}), resume: make(chan struct{}),
		botToken: options.BotToken, appToken: options.AppToken,
		channels: make(map[string]string), stamp: time.Now().UnixMicro(),
		tickets: make(map[string]bool), pending: make(map[string]chan time.Time),
	}
	for name, id := range options.Channels {
		s.channels[strings.TrimPrefix(name, "#")] = id
	}
	s.mux.HandleFunc("POST /api/{method}", s.api)
	s.mux.HandleFunc("GET /link", s.link)
	s.control()
	return s
}

// ServeHTTP answers as Slack does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close disconnects everybody and waits until their connections have ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	if s.outage == Hang {
		close(s.resume)
		s.resume = make(chan struct{})
	}
	s.outage = Unavailable
	sockets := slices.Clone(s.sockets)
	s.mu.Unlock()
	for _, socket := range sockets {
		socket.conn.Close()
	}
	s.handlers.Wait()
}

// change tells those who wait that something is different; the lock must be held.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// api answers one Web API call.
func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	method := r.PathValue("method")
	if !s.up(w, r) {
		s.record(method, "503")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		s.answer(w, method, "invalid_form_data", nil)
		return
	}
	s.mu.Lock()
	fault := s.fault(method)
	bot, app := s.botToken, s.appToken
	s.mu.Unlock()
	if fault != nil {
		if fault.code != "" {
			s.answer(w, method, fault.code, nil)
			return
		}
		if fault.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", strconv.Itoa(int(fault.after.Round(time.Second)/time.Second)))
		}
		w.WriteHeader(fault.status)
		s.record(method, strconv.Itoa(fault.status))
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "" {
		token = r.Form.Get("token")
	}
	valid := bot
	if method == "apps.connections.open" {
		valid = app
	}
	switch token {
	case valid:
	case "":
		s.answer(w, method, "not_authed", nil)
		return
	case bot, app:
		s.answer(w, method, "not_allowed_token_type", nil)
		return
	default:
		s.answer(w, method, "invalid_auth", nil)
		return
	}
	var code string
	var result map[string]any
	switch method {
	case "auth.test":
		result = map[string]any{"url": "https://fake.slack.test/", "team": "fake", "user": "sluice", "team_id": teamID, "user_id": botUser, "bot_id": "B0FAKE"}
	case "apps.connections.open":
		result = map[string]any{"url": s.ticket(r)}
	case "chat.postMessage", "chat.postEphemeral":
		result, code = s.post(method, r)
	case "chat.update":
		result, code = s.update(r)
	default:
		code = "unknown_method"
	}
	s.answer(w, method, code, result)
}

const (
	teamID  = "T0FAKE"
	botUser = "U0SLUICE"
	appID   = "A0FAKE"
)

// up waits out a hang and reports whether Slack is there; when it is not, it has answered.
func (s *Server) up(w http.ResponseWriter, r *http.Request) bool {
	for {
		s.mu.Lock()
		outage, resume := s.outage, s.resume
		s.mu.Unlock()
		switch outage {
		case Up:
			return true
		case Hang:
			select {
			case <-resume:
			case <-r.Context().Done():
				return false
			}
		default:
			http.Error(w, "<html>upstream is away</html>", http.StatusServiceUnavailable)
			return false
		}
	}
}

// fault takes one of the faults of a method; the lock must be held.
func (s *Server) fault(method string) *fault {
	for i, f := range s.faults {
		if f.method != method && f.method != "" {
			continue
		}
		if f.left--; f.left == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return f
	}
	return nil
}

func (s *Server) answer(w http.ResponseWriter, method, code string, result map[string]any) {
	body := map[string]any{"ok": code == ""}
	if code != "" {
		body["error"] = code
	}
	for key, value := range result {
		body[key] = value
	}
	// Recorded first: whoever has the answer finds the call in the record.
	if code == "" {
		code = "ok"
	}
	s.record(method, code)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) record(method, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, Call{Method: method, Answer: answer, At: time.Now()})
	s.change()
}

// next returns a new time stamp; the lock must be held.
func (s *Server) next() string {
	s.stamp++
	return fmt.Sprintf("%d.%06d", s.stamp/1e6, s.stamp%1e6)
}

// channel resolves an ID or a name; the lock must be held.
func (s *Server) channel(name string) (string, bool) {
	name = strings.TrimPrefix(name, "#")
	if id, ok := s.channels[name]; ok {
		return id, true
	}
	for _, id := range s.channels {
		if id == name {
			return id, true
		}
	}
	if name == "" || len(s.options.Channels) > 0 {
		return "", false
	}
	id := name
	if !isID(name) {
		id = fmt.Sprintf("C%010d", len(s.channels)+1)
	}
	s.channels[name] = id
	return id, true
}

func isID(name string) bool {
	return len(name) >= 9 && (name[0] == 'C' || name[0] == 'G') && strings.ToUpper(name) == name
}
