package slackfake

import (
	"encoding/json"
	"net/http"
	"time"
)

// State is what GET /control/state answers.
type State struct {
	Messages   []Message `json:"messages"`
	Ephemerals []Message `json:"ephemerals"`
	Calls      []Call    `json:"calls"`
	Sockets    int       `json:"sockets"`
}

// control adds the switches for other processes, all JSON:
//
//	GET  /control/state                                            State
//	POST /control/press       Press                                {"acknowledgedAfter":"1ms"}
//	POST /control/outage      {"mode":"unavailable"|"hang"|""}
//	POST /control/ratelimit   {"method":"chat.update","calls":2,"afterSeconds":3}
//	POST /control/fail        {"method":"chat.update","calls":1,"error":"internal_error"}
//	POST /control/tokens      {"bot":"xoxb-...","app":"xapp-..."}
//	POST /control/disconnect  {"abrupt":true}
func (s *Server) control() {
	s.mux.HandleFunc("GET /control/state", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, State{s.Messages(), s.Ephemerals(), s.Calls(), s.Sockets()})
	})
	s.mux.HandleFunc("POST /control/press", func(w http.ResponseWriter, r *http.Request) {
		press, ok := read[Press](w, r)
		if !ok {
			return
		}
		took, err := s.Press(r.Context(), press)
		if err != nil {
			reply(w, http.StatusConflict, map[string]string{"error": err.Error()})
			return
		}
		reply(w, http.StatusOK, map[string]string{"acknowledgedAfter": took.String()})
	})
	order(s, "outage", func(o struct {
		Mode Outage `json:"mode"`
	}) {
		s.SetOutage(o.Mode)
	})
	order(s, "ratelimit", func(o struct {
		Method       string `json:"method"`
		Calls        int    `json:"calls"`
		AfterSeconds int    `json:"afterSeconds"`
	}) {
		s.RateLimit(o.Method, o.Calls, time.Duration(o.AfterSeconds)*time.Second)
	})
	order(s, "fail", func(o struct {
		Method string `json:"method"`
		Calls  int    `json:"calls"`
		Error  string `json:"error"`
	}) {
		s.Fail(o.Method, o.Calls, o.Error)
	})
	order(s, "tokens", func(o struct {
		Bot string `json:"bot"`
		App string `json:"app"`
	}) {
		s.SetTokens(o.Bot, o.App)
	})
	order(s, "disconnect", func(o struct {
		Abrupt bool `json:"abrupt"`
	}) {
		if o.Abrupt {
			s.Drop()
		} else {
			s.Disconnect()
		}
	})
}

func order[T any](s *Server, name string, carryOut func(T)) {
	s.mux.HandleFunc("POST /control/"+name, func(w http.ResponseWriter, r *http.Request) {
		if o, ok := read[T](w, r); ok {
			carryOut(o)
			reply(w, http.StatusOK, map[string]bool{"ok": true})
		}
	})
}

func read[T any](w http.ResponseWriter, r *http.Request) (value T, ok bool) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return value, false
	}
	return value, true
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
