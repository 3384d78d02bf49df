package prometheus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

// errTooLarge is a response beyond Options.MaxBytes.
var errTooLarge = errors.New("the response is too large")

// bounded lets no more than so many bytes of a response through.
type bounded struct {
	next http.RoundTripper
	most int64
}

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(request)
	if err == nil {
		response.Body = &boundedBody{response.Body, b.most}
	}
	return response, err //nolint:wrapcheck // a RoundTripper hands on what it gets
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, errTooLarge
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// clean makes an error fit to be shown: without the URL, which a client's error repeats, without a
// response's body, and short.
func clean(verb string, err error) error {
	var (
		transport *url.Error
		answer    *v1.Error
	)
	switch {
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("%s: %w", verb, errTooLarge)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer in time: %w", verb, context.DeadlineExceeded)
	case errors.As(err, &answer):
		return fmt.Errorf("%s: %s: %s", verb, answer.Type, short(answer.Msg))
	case errors.As(err, &transport):
		return fmt.Errorf("%s: %w", verb, transport.Err)
	}
	return fmt.Errorf("%s: %w", verb, err)
}

// short makes one line of at most 200 characters of a text that came from elsewhere.
func short(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > 200 {
		return string(runes[:200]) + "…"
	}
	return text
}
