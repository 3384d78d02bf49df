package http1

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// tries bounds how many endpoints one request is offered to.
const tries = 3

// exchange is one request and its response on their way through. Its methods are called by the request's
// own goroutine.
type exchange struct {
	// Set by the direction.
	name        string              // of the service, for explanations
	w           http.ResponseWriter // towards the caller
	r           *http.Request       // as it came
	series      *telemetry.Series   // nil: do not count
	streams     *table.Streams      // where an upgraded connection is entered; may be nil
	next        func(tried []*table.Endpoint) (hop, error)
	now         func() time.Time
	close       bool // the response is to be the last of its connection
	unprocessed bool // the caller understands sluice-unprocessed

	begun   time.Time
	counted bool
	status  int  // of the response; 0 before there is one
	whole   bool // the response's body has been read to its end
}

// hop is where a try goes.
type hop struct {
	address   string
	intended  string
	transport http.RoundTripper
	endpoint  *table.Endpoint // nil where there is nothing to choose from
}

func (x *exchange) begin() {
	x.begun = x.now()
	if x.series != nil {
		x.series.Begin()
	}
}

// count ends the request for the metrics, the first time it is called.
func (x *exchange) count(code int) {
	if x.counted {
		return
	}
	x.counted = true
	if x.series != nil {
		x.series.End(code, x.now().Sub(x.begun))
	}
}

// finish counts the request as it ended, when nothing before has.
func (x *exchange) finish() {
	switch {
	case x.status != 0 && x.whole:
		x.count(x.status)
	case x.r.Context().Err() != nil:
		x.count(telemetry.Canceled)
	case x.status == 0:
		x.count(telemetry.Unreached)
	default:
		x.count(http.StatusBadGateway)
	}
}

// failed counts a request that got no response from an endpoint.
func (x *exchange) failed() {
	if x.r.Context().Err() != nil {
		x.count(telemetry.Canceled)
	} else {
		x.count(telemetry.Unreached)
	}
}

// roundTrip offers the request to one endpoint after the other, of the revision that was drawn, as long
// as it is certain that none has begun to process it. (A request on a kept connection that the endpoint
// had just closed is repeated below this, by http.Transport, by the same endpoint and under the same
// rule.)
func (x *exchange) roundTrip(r *http.Request) (*http.Response, error) {
	var body *replay
	if r.Body != nil {
		body = newReplay(r.Body)
	}
	var tried []*table.Endpoint
	var last error
	for try := range tries {
		hop, err := x.next(tried)
		if err != nil {
			if last != nil {
				err = last
			}
			return nil, err
		}
		response, err := x.try(r, try, body, hop)
		if err == nil {
			return response, nil
		}
		last = err
		var dial dialError
		var unprocessed unprocessedError
		switch {
		case x.r.Context().Err() != nil:
			return nil, err
		case errors.As(err, &dial):
			x.failed() // by the first try, whatever comes after it
		case errors.As(err, &unprocessed):
			if unprocessed.reason != wrongRevision {
				x.failed()
			}
		default:
			return nil, err
		}
		if hop.endpoint == nil || body != nil && !body.rewind() {
			return nil, err
		}
		tried = append(tried, hop.endpoint)
	}
	return nil, last
}

func (x *exchange) try(r *http.Request, number int, body *replay, hop hop) (*http.Response, error) {
	if number > 0 {
		// The try before may still be reading its own.
		r = r.WithContext(r.Context())
		url := *r.URL
		r.URL, r.Header = &url, maps.Clone(r.Header)
	}
	r.URL.Host = hop.address
	if hop.intended != "" {
		r.Header[intendedHeader] = []string{hop.intended}
	} else {
		delete(r.Header, intendedHeader)
	}
	if _, keyed := r.Header["Idempotency-Key"]; !keyed && (r.Method == http.MethodPut || r.Method == http.MethodDelete) {
		// Tells http.Transport, and nobody else, that these may be repeated too (RFC 9110, 9.2.2).
		r.Header["Idempotency-Key"] = nil
	}
	if body != nil {
		r.Body = body.reader()
		r.GetBody = body.again
	}
	if hop.endpoint != nil {
		hop.endpoint.Enter()
	}
	leave := func() {
		if hop.endpoint != nil {
			hop.endpoint.Leave()
		}
	}
	response, err := hop.transport.RoundTrip(r)
	if err != nil {
		leave()
		return nil, err
	}
	if reason := response.Header.Get(unprocessedHeader); reason != "" && hop.intended != "" {
		leave()
		_ = response.Body.Close()
		return nil, unprocessedError{reason}
	}
	x.status = response.StatusCode
	x.whole = response.Body == http.NoBody
	if response.StatusCode == http.StatusSwitchingProtocols {
		x.count(response.StatusCode)
		if stream, ok := response.Body.(io.ReadWriteCloser); ok {
			upgraded := &upgraded{ReadWriteCloser: stream}
			gone := x.streams.Add(stream)
			upgraded.leave = func() { gone(); leave() }
			response.Body = upgraded
			return response, nil
		}
	}
	response.Body = &responseBody{ReadCloser: response.Body, exchange: x, length: response.ContentLength, leave: leave}
	return response, nil
}

// answered prepares what goes to the caller: nothing that the endpoint did not say, apart from the end of
// the connection.
func (x *exchange) answered(r *http.Response) {
	header := x.w.Header()
	for _, name := range []string{"Date", "Content-Type"} {
		if _, found := r.Header[name]; !found {
			header[name] = nil // or the standard library would make one up
		}
	}
	if x.close && r.StatusCode != http.StatusSwitchingProtocols {
		r.Header.Set("Connection", "close")
	}
}
