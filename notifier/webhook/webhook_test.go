package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var event = notifier.Event{
	ID: "r1-Weight-3", Kind: notifier.KindWeight, At: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC),
	Namespace: "shop", Rollout: "shop", Release: "r1", Phase: "Progressing", Reason: "weight 25 asked",
	Step: "2 of 4", StepIndex: 1, Desired: 25, Live: 10,
	StableImages: []string{"shop:v1"}, CanaryImages: []string{"shop:v2"}, Verdict: "pass",
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func sender(t *testing.T, cfg webhook.Config) *webhook.Sender {
	t.Helper()
	s := webhook.New(cfg)
	t.Cleanup(s.CloseIdle)
	return s
}

func TestRequest(t *testing.T) {
	type seen struct {
		Method, Path, Query, Type, Agent, ID, Kind, Token string
		Event                                             notifier.Event
	}
	var got seen
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = seen{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Type: r.Header.Get("Content-Type"),
			Agent: r.Header.Get("User-Agent"), ID: r.Header.Get("Sluice-Event-Id"),
			Kind: r.Header.Get("Sluice-Event-Kind"), Token: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&got.Event); err != nil {
			t.Errorf("decode event: %v", err)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	target := notifier.Target{Channel: "webhook", Name: "shop/ci", Address: notifier.Secret(server.URL + "/hook/abc?k=v\n"), Token: "t0ken"}
	if err := sender(t, webhook.Config{Version: "1.2.3"}).To(target).Notify(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	want := seen{Method: "POST", Path: "/hook/abc", Query: "k=v", Type: "application/json", Agent: "sluice/1.2.3",
		ID: "r1-Weight-3", Kind: "Weight", Token: "Bearer t0ken", Event: event}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoTokenNoHeader(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := r.Header["Authorization"]; ok {
			t.Error("a request without token has an Authorization header")
		}
	})
	target := notifier.Target{Name: "ci", Address: notifier.Secret(server.URL)}
	if err := sender(t, webhook.Config{}).To(target).Notify(t.Context(), event); err != nil {
		t.Fatal(err)
	}
}

func TestAnswers(t *testing.T) {
	inAMinute := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	for name, test := range map[string]struct {
		code      int
		after     string
		ok        bool
		permanent bool
		least     time.Duration
		most      time.Duration
	}{
		"200":                   {code: 200, ok: true},
		"204":                   {code: 204, ok: true},
		"400":                   {code: 400, permanent: true},
		"401":                   {code: 401, permanent: true},
		"404":                   {code: 404, permanent: true},
		"408":                   {code: 408},
		"429 without a pause":   {code: 429},
		"429 with seconds":      {code: 429, after: "7", least: 7 * time.Second, most: 7 * time.Second},
		"503 with a date":       {code: 503, after: inAMinute, least: 50 * time.Second, most: time.Minute},
		"503 with a past date":  {code: 503, after: "Mon, 02 Jan 2006 15:04:05 GMT"},
		"503 with nonsense":     {code: 503, after: "soon"},
		"500":                   {code: 500},
		"404 with Retry-After":  {code: 404, after: "7", permanent: true},
		"308 without Location":  {code: 308, permanent: true},
		"429 with negative":     {code: 429, after: "-1"},
		"500 with a huge pause": {code: 500, after: "99999999999999999999"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if test.after != "" {
					w.Header().Set("Retry-After", test.after)
				}
				w.WriteHeader(test.code)
			})
			target := notifier.Target{Name: "ci", Address: notifier.Secret(server.URL)}
			err := sender(t, webhook.Config{}).To(target).Notify(t.Context(), event)
			if (err == nil) != test.ok {
				t.Fatalf("err = %v", err)
			}
			if got := notifier.IsPermanent(err); got != test.permanent {
				t.Errorf("permanent = %v, want %v (%v)", got, test.permanent, err)
			}
			if pause, _ := notifier.Pause(err); pause < test.least || pause > test.most {
				t.Errorf("pause = %v, want %v to %v", pause, test.least, test.most)
			}
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	for _, code := range []int{301, 302, 303, 307, 308} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, code) })
		err := sender(t, webhook.Config{}).To(notifier.Target{Name: "ci", Address: notifier.Secret(server.URL), Token: "t0ken"}).
			Notify(t.Context(), event)
		if !notifier.IsPermanent(err) || !strings.Contains(err.Error(), "redirects are not followed") {
			t.Errorf("%d: err = %v", code, err)
		}
	}
}

func TestCertificateIsVerified(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the event went to an endpoint whose certificate nobody trusts")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	err := sender(t, webhook.Config{}).To(notifier.Target{Name: "ci", Address: notifier.Secret(server.URL)}).Notify(t.Context(), event)
	if err == nil || !strings.Contains(err.Error(), "certificate is not trusted") {
		t.Errorf("err = %v", err)
	}

	trusting := sender(t, webhook.Config{Transport: server.Client().Transport})
	server.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	if err := trusting.To(notifier.Target{Name: "ci", Address: notifier.Secret(server.URL)}).Notify(t.Context(), event); err != nil {
		t.Errorf("with the right roots: %v", err)
	}
}

func TestTimeoutIsRetried(t *testing.T) {
	release := make(chan struct{})
	server := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // before the server's Close, which waits for the handler
	err := sender(t, webhook.Config{Timeout: 20 * time.Millisecond}).
		To(notifier.Target{Name: "ci", Address: notifier.Secret(server.URL)}).Notify(t.Context(), event)
	if err == nil || notifier.IsPermanent(err) || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("err = %v", err)
	}
}

func TestEndlessAnswerIsCutOff(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 4096)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	target := notifier.Target{Name: "ci", Address: notifier.Secret(server.URL)}
	if err := sender(t, webhook.Config{}).To(target).Notify(t.Context(), event); err != nil {
		t.Fatal(err)
	}
}

// Every way to fail, and none shows what is secret.
func TestErrorsShowNoSecret(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	echo := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+r.URL.Path)
	})
	hangUp := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			connection.Close()
		}
	})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx context.Context
		url string
	}{
		"refused":     {url: "http://" + address + "/s3cr3t"},
		"no host":     {url: "https:///s3cr3t"},
		"bad escape":  {url: "https://hooks.example.test/%zz/s3cr3t"},
		"control":     {url: "https://hooks.example.test/\x7fs3cr3t"},
		"scheme":      {url: "file:///s3cr3t"},
		"empty":       {url: ""},
		"no name":     {url: "https://s3cr3t.invalid/s3cr3t"},
		"echoes":      {url: echo.URL + "/s3cr3t"},
		"hangs up":    {url: hangUp.URL + "/s3cr3t"},
		"canceled":    {ctx: canceled, url: echo.URL + "/s3cr3t"},
		"credentials": {url: "http://user:s3cr3t@" + address},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			err := sender(t, webhook.Config{Timeout: 2 * time.Second}).
				To(notifier.Target{Name: "shop/ci", Address: notifier.Secret(test.url), Token: "t0ken"}).Notify(ctx, event)
			if err == nil {
				t.Fatal("no error")
			}
			for err := err; err != nil; err = errors.Unwrap(err) {
				for _, secret := range []string{"s3cr3t", "t0ken", address, "example.test"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%q shows in %q", secret, err)
					}
				}
			}
			if !strings.Contains(err.Error(), "webhook shop/ci") {
				t.Errorf("%q does not name the webhook", err)
			}
		})
	}
}
