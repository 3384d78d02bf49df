package h2_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// TestH2Spec runs h2spec's cases, its strict ones too, against a proxy before an application.
func TestH2Spec(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "some bytes for the windows")
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	host, port, _ := net.SplitHostPort(b.Door(shopAddress))
	number, _ := strconv.Atoi(port)
	c := &config.Config{Host: host, Port: number, Path: "/", Timeout: 5 * time.Second, MaxHeaderLen: 4000, Strict: true}
	t.Run("cases", func(t *testing.T) {
		for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
			runGroup(t, c, group)
		}
	})
}

func runGroup(t *testing.T, c *config.Config, group *spec.TestGroup) {
	for i, test := range append(append([]*spec.TestCase(nil), group.Tests...), group.StrictTests...) {
		t.Run(fmt.Sprintf("%s/%d", group.ID(), i+1), func(t *testing.T) {
			t.Parallel()
			conn, err := spec.Dial(c)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := test.Run(c, conn); errors.Is(err, spec.ErrSkipped) {
				t.Skip(test.Desc)
			} else if err != nil {
				t.Errorf("%s: %v\nrequired: %s", test.Desc, err, test.Requirement)
			}
		})
	}
	for _, g := range group.Groups {
		runGroup(t, c, g)
	}
}
