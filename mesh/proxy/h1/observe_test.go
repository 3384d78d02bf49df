package h1_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
)

type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.text.String()), "\n")
}

func TestAccessLogAndTrace(t *testing.T) {
	heads := make(chan string, 2)
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			io.ReadFull(r, make([]byte, 4))
			heads <- head
			io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	var log lockedLog
	observer := observe.New(observe.Options{Writer: &log, Registerer: prometheus.NewRegistry()})
	observer.Configure(ir.Settings{
		AccessLog: ir.AccessLog{Share: ir.Million},
		Tracing:   ir.Tracing{Endpoint: "http://127.0.0.1:1/v1/traces", Share: ir.Million},
	})
	b := outbound(t, func(o *engine.Options) { o.Observer = observer })
	b.Apply(plainShop(app))
	_, r := b.say("POST /a?b HTTP/1.1\r\nHost: shop.demo\r\nUser-Agent: tester\r\nX-Request-Id: 7\r\n" +
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nContent-Length: 4\r\n\r\nbody")
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 201") {
		t.Fatal(head)
	}
	head := <-heads
	if strings.Count(strings.ToLower(head), "traceparent: 00-0af7651916cd43dd8448eb211c80319c-") != 1 || strings.Contains(head, "b7ad6b7169203331") {
		t.Errorf("the trace was not carried on: %q", head)
	}
	eventually(t, "the end", func() bool { return b.Active() == 0 })
	observer.Close(t.Context())
	var line map[string]any
	if err := json.Unmarshal([]byte(log.lines()[0]), &line); err != nil {
		t.Fatalf("%v in %q", err, log.lines())
	}
	text := fmt.Sprint(line)
	for _, want := range []string{"POST", "/a", "shop.demo", "tester", "demo/shop", "v1", app.String(), "201"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
}
