package prometheus

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-mesh/sluice/analysis/check"
)

// Client asks a server any query. It is safe for concurrent use.
type Client struct{ options Options }

// NewClient makes a Client. It does not talk to the server yet.
func NewClient(options Options) (*Client, error) {
	return &Client{options: options}, nil
}

// Query evaluates an expression at a time: to a scalar, a vector or a string. A query whose result is
// something else is an error, and so is an answer that is not complete.
func (c *Client) Query(ctx context.Context, expression string, at time.Time) (check.Result, error) {
	_, _, _ = ctx, expression, at
	return check.Result{}, errors.New("not written yet")
}

// Range evaluates an expression at every step from one time to another, both included.
func (c *Client) Range(ctx context.Context, expression string, from, to time.Time, step time.Duration) ([]check.Points, error) {
	_, _, _, _, _ = ctx, expression, from, to, step
	return nil, errors.New("not written yet")
}

// Close closes the connections that are idle.
func (c *Client) Close() {}
