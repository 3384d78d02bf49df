package slackfake_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/notifier/slack/slackfake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The client under test elsewhere is the real one; here it is HTTP by hand, to see that the fake
// refuses what Slack refuses.
func serve(t *testing.T, options slackfake.Options) (*slackfake.Server, string) {
	t.Helper()
	fake := slackfake.New(options)
	server := httptest.NewServer(fake)
	t.Cleanup(func() {
		fake.Close()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return fake, server.URL
}

func post(t *testing.T, address string, form url.Values) (status int, answer map[string]any) {
	t.Helper()
	response, err := http.PostForm(address, form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(body, &answer)
	return response.StatusCode, answer
}

func TestRefuses(t *testing.T) {
	_, base := serve(t, slackfake.Options{Channels: map[string]string{"#releases": "C0123456789"}})
	blocks := func(text string) string {
		raw, err := json.Marshal([]any{map[string]any{"type": "section", "text": map[string]any{"type": "mrkdwn", "text": text}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for name, test := range map[string]struct {
		method, token, want string
		form                url.Values
	}{
		"ok":               {method: "chat.postMessage", form: url.Values{"channel": {"#releases"}, "text": {"hi"}}},
		"no token":         {method: "auth.test", token: "-", want: "not_authed"},
		"wrong token":      {method: "auth.test", token: "xoxb-other", want: "invalid_auth"},
		"app token":        {method: "auth.test", token: "xapp-fake", want: "not_allowed_token_type"},
		"bot token":        {method: "apps.connections.open", want: "not_allowed_token_type"},
		"unknown channel":  {method: "chat.postMessage", form: url.Values{"channel": {"#x"}, "text": {"hi"}}, want: "channel_not_found"},
		"update by name":   {method: "chat.update", form: url.Values{"channel": {"#releases"}, "ts": {"1"}}, want: "channel_not_found"},
		"update of none":   {method: "chat.update", form: url.Values{"channel": {"C0123456789"}, "ts": {"1"}}, want: "message_not_found"},
		"nothing to say":   {method: "chat.postMessage", form: url.Values{"channel": {"#releases"}}, want: "no_text"},
		"section fits":     {method: "chat.postMessage", form: url.Values{"channel": {"#releases"}, "blocks": {blocks(strings.Repeat("é", 3000))}}},
		"section too long": {method: "chat.postMessage", form: url.Values{"channel": {"#releases"}, "blocks": {blocks(strings.Repeat("é", 3001))}}, want: "invalid_blocks"},
		"no thread":        {method: "chat.postMessage", form: url.Values{"channel": {"#releases"}, "text": {"hi"}, "thread_ts": {"1"}}, want: "thread_not_found"},
		"other method":     {method: "users.list", want: "unknown_method"},
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{"token": {"xoxb-fake"}}
			switch test.token {
			case "":
			case "-":
				form.Del("token")
			default:
				form.Set("token", test.token)
			}
			for key, values := range test.form {
				form[key] = values
			}
			_, answer := post(t, base+"/api/"+test.method, form)
			if got, _ := answer["error"].(string); got != test.want || answer["ok"] != (test.want == "") {
				t.Errorf("answer %v, want error %q", answer, test.want)
			}
		})
	}
}

const button = `[{"type":"actions","block_id":"b","elements":[{"type":"button","action_id":"go","value":"v","text":{"type":"plain_text","text":"Go"}}]}]`

func TestPressWithoutAcknowledgementFails(t *testing.T) {
	fake, base := serve(t, slackfake.Options{AckWithin: 20 * time.Millisecond})
	post(t, base+"/api/chat.postMessage", url.Values{"token": {"xoxb-fake"}, "channel": {"C0123456789"}, "blocks": {button}})
	press := slackfake.Press{User: "U0AA", Channel: "C0123456789", TS: fake.Posts()[0].TS, ActionID: "go"}
	if _, err := fake.Press(t.Context(), press); !errors.Is(err, slackfake.ErrNotAcknowledged) {
		t.Errorf("nobody connected: err = %v", err)
	}
	_, answer := post(t, base+"/api/apps.connections.open", url.Values{"token": {"xapp-fake"}})
	link, _ := answer["url"].(string)
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), link, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var message struct {
		Type       string `json:"type"`
		EnvelopeID string `json:"envelope_id"`
	}
	if err := conn.ReadJSON(&message); err != nil || message.Type != "hello" {
		t.Fatalf("first message %+v, err = %v; want hello", message, err)
	}
	if _, err := fake.Press(t.Context(), press); !errors.Is(err, slackfake.ErrNotAcknowledged) {
		t.Errorf("silent client: err = %v", err)
	}
	if err := conn.ReadJSON(&message); err != nil || message.Type != "interactive" || message.EnvelopeID == "" {
		t.Errorf("second message %+v, err = %v; want interactive", message, err)
	}
	if _, response, err := websocket.DefaultDialer.DialContext(t.Context(), link, nil); err == nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("a ticket was good for two connections")
	}
	press.ActionID = "other"
	if _, err := fake.Press(t.Context(), press); err == nil || errors.Is(err, slackfake.ErrNotAcknowledged) {
		t.Errorf("no such button: err = %v", err)
	}
}

func TestControl(t *testing.T) {
	fake, base := serve(t, slackfake.Options{})
	command := func(path, body string, want int) {
		t.Helper()
		response, err := http.Post(base+"/control/"+path, "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		if response.StatusCode != want {
			t.Errorf("%s %s: %d, want %d", path, body, response.StatusCode, want)
		}
	}
	hello := url.Values{"token": {"xoxb-fake"}, "channel": {"#releases"}, "text": {"hi"}}
	expect := func(want int) {
		t.Helper()
		if got, _ := post(t, base+"/api/chat.postMessage", hello); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
	}
	command("outage", `{"mode":"unavailable"}`, 200)
	expect(503)
	command("outage", `{"mode":""}`, 200)
	command("ratelimit", `{"method":"chat.postMessage","calls":1,"afterSeconds":3}`, 200)
	expect(429)
	expect(200)
	command("fail", `{"calls":1,"error":"internal_error"}`, 200)
	expect(200)
	command("outage", `{"mod":""}`, 400)
	command("press", `{"user":"U0AA","channel":"C","ts":"1","action_id":"go"}`, 409)
	command("disconnect", `{"abrupt":true}`, 200)
	command("tokens", `{"bot":"xoxb-new","app":"xapp-new"}`, 200)
	expect(200) // with invalid_auth

	response, err := http.Get(base + "/control/state")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var state slackfake.State
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	var answers []string
	for _, call := range state.Calls {
		answers = append(answers, call.Answer)
	}
	if got := strings.Join(answers, " "); got != "503 429 ok internal_error invalid_auth" || len(state.Messages) != 1 || len(fake.Messages()) != 1 {
		t.Errorf("calls %q, %d messages", got, len(state.Messages))
	}
}
