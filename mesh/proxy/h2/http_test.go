package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func TestCarriesRequests(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Method+" "+r.Host+" "+r.RequestURI+" "+r.Header.Get("X-Ask")+r.Trailer.Get("X-End"))
		w.Header().Set("Trailer", "X-Done")
		fmt.Fprintf(w, "got %d", len(body))
		w.Header().Set("X-Done", "yes")
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	c := client(t, b.door(shopAddress))
	for _, size := range []int{0, 1, 5000, 20_000, 3 << 20} {
		r, _ := http.NewRequest("POST", "http://shop.demo/a/b?c=d", bytes.NewReader(make([]byte, size)))
		r.Header.Set("X-Ask", "this")
		ask := "this"
		if size > 0 { // net/http never ends an empty request with trailers
			r.Trailer, ask = http.Header{"X-End": {"there"}}, "thisthere"
		}
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != fmt.Sprintf("got %d", size) {
			t.Fatalf("size %d: %q, %v", size, body, err)
		}
		if seen := response.Header.Get("X-Seen"); seen != "POST shop.demo /a/b?c=d "+ask {
			t.Errorf("size %d: the application saw %q", size, seen)
		}
		if response.Trailer.Get("X-Done") != "yes" {
			t.Errorf("size %d: no trailer", size)
		}
	}
	if got := b.total("code=200", "revision=v1"); got != 5 {
		t.Errorf("%v requests counted, want 5", got)
	}
}

func TestLargeBodiesBothWaysAtOnce(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	c := client(t, b.door(shopAddress))
	want := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			response, err := c.Post("http://shop/", "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if got, err := io.ReadAll(response.Body); err != nil || string(got) != want {
				t.Errorf("%d bytes of %d came back: %v", len(got), len(want), err)
			}
		})
	}
	all.Wait()
}
