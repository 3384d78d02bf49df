package main

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
)

// maxTraces bounds the messages that are kept.
const maxTraces = 10_000

// traces is a collector of traces as OTLP has them over HTTP, in JSON: what is posted is kept, and shown to
// who gets it as a list of the messages.
type traces struct {
	mu       sync.Mutex
	messages []json.RawMessage
}

func (t *traces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodPost {
		t.mu.Lock()
		defer t.mu.Unlock()
		_ = json.NewEncoder(w).Encode(append([]json.RawMessage{}, t.messages...))
		return
	}
	message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	if err != nil || !json.Valid(message) {
		http.Error(w, "a message of OTLP in JSON is wanted", http.StatusBadRequest)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.messages) >= maxTraces {
		http.Error(w, "no room for more", http.StatusServiceUnavailable)
		return
	}
	t.messages = append(t.messages, message)
	_, _ = io.WriteString(w, "{}")
}
