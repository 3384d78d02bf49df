package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// rater is what the handler needs of the generator.
type rater interface{ setRate(rate float64) }

func statsHandler(book *ledger.Ledger, g rater) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		var since time.Time
		if value := r.URL.Query().Get("since"); value != "" {
			var err error
			if since, err = time.Parse(time.RFC3339Nano, value); err != nil {
				http.Error(w, fmt.Sprintf("parse since: %v", err), http.StatusBadRequest)
				return
			}
		}
		write(w, book.Snapshot(since))
	})
	mux.HandleFunc("POST /cut", func(w http.ResponseWriter, _ *http.Request) { write(w, book.Cut()) })
	mux.HandleFunc("POST /rate", func(w http.ResponseWriter, r *http.Request) {
		rate, err := strconv.ParseFloat(r.URL.Query().Get("rps"), 64)
		if err != nil || !(rate >= 0 && rate <= maxRate) {
			http.Error(w, fmt.Sprintf("parse rps: a number from 0 to %d is wanted", maxRate), http.StatusBadRequest)
			return
		}
		g.setRate(rate)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /ask", ask)
	return mux
}

func write(w http.ResponseWriter, s ledger.Snapshot) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}
