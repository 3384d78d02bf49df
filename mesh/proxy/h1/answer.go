package h1

import (
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// failure is a try that has no response to pass on.
type failure struct {
	table.Failure
	status   int    // to answer
	code     int    // to count
	reason   string // to tell
	outcome  table.Outcome
	counts   bool // even when another try succeeds
	final    bool // no other try can help
	canceled bool // nobody waits for an answer
	// decided: the rule wants another try, which has been taken from the budget, after wait.
	decided   bool
	wait      time.Duration
	unreached bool
}

func canceled(o table.Outcome) *failure {
	return &failure{
		code: telemetry.Canceled, reason: "caller went away", outcome: o, counts: true, final: true, canceled: true,
	}
}

// explain answers a request that has no response, in few words that a person can use.
func (x *exchange) explain(f *failure) {
	if f.canceled {
		x.count(f.code)
		x.reason, x.last = f.reason, true
		return
	}
	a := ownAnswer{status: f.status, reason: f.reason}
	if f.unreached && x.c.server.inbound && x.request.intended != "" {
		a.unprocessed = engine.Unreachable
	}
	x.answer(a, f.code)
}

// answer sends an answer of our own, and counts the request.
func (x *exchange) answer(a ownAnswer, code int) {
	x.count(code)
	x.reason = a.reason
	if a.name == "" {
		a.name = x.service()
	}
	if !x.body.done {
		x.last = true // what is not read of the body cannot be told from the next request
	}
	a.last, a.old, a.head = x.last, x.request.minor == 0, x.request.method == "HEAD"
	x.unbound() // telling of a timeout is not subject to it
	if x.c.write(a.text()) != nil {
		x.last = true
	}
}

// service names where the request was going, for people.
func (x *exchange) service() string {
	if x.plan.Port == nil || x.c.server.inbound {
		return x.c.dst.String()
	}
	if x.plan.Revision != "" {
		return x.plan.Port.Service + " revision " + x.plan.Revision
	}
	return x.plan.Port.Service
}

// ownAnswer is an answer of the proxy's own.
type ownAnswer struct {
	status                int
	name, reason          string
	location, unprocessed string
	last                  bool // the connection ends
	old                   bool // the caller speaks HTTP/1.0
	head                  bool // it asked for the head only
}

func (a ownAnswer) text() []byte {
	out := append([]byte("HTTP/1.1 "), strconv.Itoa(a.status)...)
	out = append(append(append(out, ' '), http.StatusText(a.status)...), "\r\nServer: sluice\r\n"...)
	if a.location != "" {
		out = appendField(out, "Location", a.location)
	}
	if a.unprocessed != "" {
		out = appendField(out, engine.Unprocessed, a.unprocessed)
	}
	switch {
	case a.last:
		out = append(out, "Connection: close\r\n"...)
	case a.old:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		return append(out, "\r\n"...)
	}
	body := "sluice: " + a.name + ": " + a.reason + "\n"
	out = appendField(out, "Content-Type", "text/plain; charset=utf-8")
	out = appendField(out, "Content-Length", strconv.Itoa(len(body)))
	out = append(out, "\r\n"...)
	if a.head {
		return out
	}
	return append(out, body...)
}
