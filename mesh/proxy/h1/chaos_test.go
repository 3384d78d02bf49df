package h1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// moody is a server that frames, closes and hesitates as it likes, and answers each request with the
// request's own mark and body.
func moody(t *testing.T, seed uint64) netip.AddrPort {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 7))
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	return raw(t, func(c net.Conn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(request.Body)
			if err != nil {
				return
			}
			answer := append([]byte(request.Header.Get("X-Mark")+":"), body...)
			if dice(10) == 0 {
				time.Sleep(time.Duration(dice(3000)) * time.Microsecond)
			}
			var out bytes.Buffer
			last := dice(8) == 0
			switch dice(3) {
			case 0:
				fmt.Fprintf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n", len(answer))
				if last && dice(2) == 0 {
					out.WriteString("Connection: close\r\n")
				}
				out.WriteString("\r\n")
				out.Write(answer)
			case 1:
				out.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for rest := answer; len(rest) > 0; {
					n := min(len(rest), 1+dice(5000))
					fmt.Fprintf(&out, "%x\r\n%s\r\n", n, rest[:n])
					rest = rest[n:]
				}
				out.WriteString("0\r\n\r\n")
			default:
				last = true
				out.WriteString("HTTP/1.1 200 OK\r\n\r\n")
				out.Write(answer)
			}
			for all := out.Bytes(); len(all) > 0; {
				n := len(all)
				if dice(4) == 0 {
					n = min(n, 1+dice(n))
				}
				if _, err := c.Write(all[:n]); err != nil {
					return
				}
				all = all[n:]
			}
			if last {
				return
			}
		}
	})
}

// Nobody gets an answer that was meant for somebody else, whatever connections go through.
func TestNothingIsMixedUp(t *testing.T) {
	caller, _ := chain(t, moody(t, 1))
	var clients sync.WaitGroup
	var answered, unanswered atomic.Int64
	for i := range 24 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 3))
			client := caller.client()
			for j := range 60 {
				mark := fmt.Sprintf("%d.%d", i, j)
				body := strings.Repeat(mark, random.IntN(1+random.IntN(20000)))
				method := []string{"GET", "PUT", "POST"}[random.IntN(3)]
				var from io.Reader = strings.NewReader(body)
				if random.IntN(2) == 0 {
					from = io.MultiReader(from)
				}
				request, _ := http.NewRequest(method, "http://shop.demo/", from)
				request.Header.Set("X-Mark", mark)
				response, err := client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				if random.IntN(20) == 0 { // gives up in the middle
					response.Body.Close()
					continue
				}
				got, err := io.ReadAll(response.Body)
				response.Body.Close()
				switch {
				case response.StatusCode == 502: // a POST that met a connection's end
					unanswered.Add(1)
				case err != nil || response.StatusCode != 200 || string(got) != mark+":"+body:
					t.Errorf("%s %s: %d %v %.60q", method, mark, response.StatusCode, err, got)
				default:
					answered.Add(1)
				}
			}
		})
	}
	clients.Wait()
	if answered.Load() < 20*unanswered.Load() {
		t.Errorf("%d answered, %d not", answered.Load(), unanswered.Load())
	}
	eventually(t, "all to end", func() bool { return caller.Active() == 0 })
}
