package prometheus

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Raw fetches the raw samples that a selector picks in (from, to], for those who know what the series
// mean. Where the answer is too large (TooLarge), less time may do.
func (c *Client) Raw(ctx context.Context, selector string, from, to time.Time) (model.Matrix, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	expression := fmt.Sprintf("%s[%dms]", selector, to.Sub(from).Milliseconds())
	value, warnings, _, err := c.api.Query(ctx, expression, to, v1.WithLimit(c.options.MaxSeries))
	if err != nil {
		return nil, clean("query prometheus", err)
	}
	if _, err := complete(warnings); err != nil {
		return nil, fmt.Errorf("query prometheus: %w", err)
	}
	matrix, ok := value.(model.Matrix)
	switch {
	case !ok:
		return nil, errors.New("query prometheus: the answer is not a list of raw samples")
	case uint64(len(matrix)) > c.options.MaxSeries:
		return nil, fmt.Errorf("query prometheus: more than %d series", c.options.MaxSeries)
	}
	return matrix, nil
}

// TooLarge reports whether an error is that an answer had more than Options.MaxBytes.
func TooLarge(err error) bool { return errors.Is(err, errTooLarge) }
