package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// Client speaks to the supervisor of the cluster in a folder.
type Client struct {
	http *http.Client
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 1 << 20

// NewClient returns a client; it connects at each request only.
func NewClient(folder string) Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		// Through a file descriptor, as the path of a unix socket must not be longer than 107 bytes.
		dir, err := os.Open(folder)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName))
	}
	return Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Components returns the status of all components, in the order in which they depend on each other.
func (c Client) Components(ctx context.Context) ([]Status, error) {
	body, err := c.do(ctx, http.MethodGet, "/components")
	if err != nil {
		return nil, fmt.Errorf("ask supervisor: %w", err)
	}
	var all []Status
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("decode answer of supervisor: %w", err)
	}
	return all, nil
}

// Order has the action done to the component. With kill, a stop does not ask politely first.
func (c Client) Order(ctx context.Context, name string, action Action, kill bool) error {
	path := "/components/" + url.PathEscape(name) + "/" + string(action)
	if kill {
		path += "?kill"
	}
	if _, err := c.do(ctx, http.MethodPost, path); err != nil {
		return fmt.Errorf("%s %s: %w", action, name, err)
	}
	return nil
}

func (c Client) do(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, errors.New(strings.TrimSpace(string(body)))
	}
	return body, nil
}
