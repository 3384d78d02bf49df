package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// answer is what one request got.
type answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// asking is the client of requests that people ask for.
var asking = newClient()

// ask makes one request and tells its answer.
func ask(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, query.Get("url"), onceBody{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for name, values := range query {
		if header, found := strings.CutPrefix(name, "header."); found {
			req.Header[http.CanonicalHeaderKey(header)] = values
		}
	}
	client := *asking
	client.Timeout = 10 * time.Second
	resp, err := client.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer{resp.StatusCode, resp.Header, string(body)})
}
