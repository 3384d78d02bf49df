package slackfake

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"
)

// post answers chat.postMessage and chat.postEphemeral.
func (s *Server) post(method string, r *http.Request) (result map[string]any, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	channel, ok := s.channel(r.Form.Get("channel"))
	if !ok {
		return nil, "channel_not_found"
	}
	message := &Message{Channel: channel, ThreadTS: r.Form.Get("thread_ts")}
	if method == "chat.postEphemeral" {
		if message.Only = r.Form.Get("user"); message.Only == "" {
			return nil, "user_not_in_channel"
		}
	}
	if message.ThreadTS != "" && s.find(channel, message.ThreadTS) == nil {
		return nil, "thread_not_found"
	}
	if code := message.fill(r); code != "" {
		return nil, code
	}
	message.TS = s.next()
	s.messages = append(s.messages, message)
	if method == "chat.postEphemeral" {
		return map[string]any{"message_ts": message.TS}, ""
	}
	return map[string]any{"channel": channel, "ts": message.TS, "message": message.wire()}, ""
}

// update answers chat.update, which takes a channel's ID only.
func (s *Server) update(r *http.Request) (result map[string]any, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	channel, ok := s.channel(r.Form.Get("channel"))
	if !ok || channel != r.Form.Get("channel") {
		return nil, "channel_not_found"
	}
	message := s.find(channel, r.Form.Get("ts"))
	if message == nil {
		return nil, "message_not_found"
	}
	edited := *message
	if code := edited.fill(r); code != "" {
		return nil, code
	}
	edited.Edits++
	*message = edited
	return map[string]any{"channel": channel, "ts": message.TS, "text": message.Text, "message": message.wire()}, ""
}

// find returns a message that is not ephemeral; the lock must be held.
func (s *Server) find(channel, ts string) *Message {
	for _, message := range s.messages {
		if message.Channel == channel && message.TS == ts && message.Only == "" {
			return message
		}
	}
	return nil
}

// fill takes the content of a request, or returns why Slack would not.
func (m *Message) fill(r *http.Request) (code string) {
	m.Text = r.Form.Get("text")
	m.Blocks, m.Attachments = nil, nil
	if blocks := r.Form.Get("blocks"); blocks != "" {
		m.Blocks = json.RawMessage(blocks)
	}
	if attachments := r.Form.Get("attachments"); attachments != "" {
		m.Attachments = json.RawMessage(attachments)
	}
	if m.Text == "" && m.Blocks == nil && m.Attachments == nil {
		return "no_text"
	}
	if utf8.RuneCountInString(m.Text) > 40000 {
		return "msg_too_long"
	}
	if !validBlocks(m.Blocks) {
		return "invalid_blocks"
	}
	var attachments []struct {
		Blocks json.RawMessage `json:"blocks"`
	}
	if m.Attachments != nil && json.Unmarshal(m.Attachments, &attachments) != nil {
		return "invalid_attachments"
	}
	for _, attachment := range attachments {
		if !validBlocks(attachment.Blocks) {
			return "invalid_attachments"
		}
	}
	return ""
}

// wire is the message as in Slack's answers and payloads.
func (m *Message) wire() map[string]any {
	wire := map[string]any{"type": "message", "user": botUser, "bot_id": "B0FAKE", "app_id": appID, "ts": m.TS, "text": m.Text}
	if m.Blocks != nil {
		wire["blocks"] = m.Blocks
	}
	if m.Attachments != nil {
		wire["attachments"] = m.Attachments
	}
	if m.ThreadTS != "" {
		wire["thread_ts"] = m.ThreadTS
	}
	return wire
}

type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// within reports whether a text is there, of the right type and of at most limit characters.
func (t *text) within(limit int, types ...string) bool {
	if t == nil {
		return false
	}
	for _, allowed := range types {
		if t.Type == allowed {
			length := utf8.RuneCountInString(t.Text)
			return length >= 1 && length <= limit
		}
	}
	return false
}

// block has the fields of the kinds of block whose limits are checked.
type block struct {
	Type     string  `json:"type"`
	BlockID  string  `json:"block_id"`
	Text     *text   `json:"text"`
	Fields   []*text `json:"fields"`
	Elements []struct {
		Type     string          `json:"type"`
		ActionID string          `json:"action_id"`
		Value    string          `json:"value"`
		Style    string          `json:"style"`
		Text     json.RawMessage `json:"text"`
	} `json:"elements"`
}

// validBlocks checks the limits of docs.slack.dev/reference/block-kit/blocks.
func validBlocks(raw json.RawMessage) bool {
	if raw == nil {
		return true
	}
	var blocks []block
	if json.Unmarshal(raw, &blocks) != nil || len(blocks) > 50 {
		return false
	}
	actions := map[string]bool{}
	for _, b := range blocks {
		if len(b.BlockID) > 255 {
			return false
		}
		switch b.Type {
		case "divider":
		case "header":
			if !b.Text.within(150, "plain_text") {
				return false
			}
		case "section":
			if b.Text == nil && len(b.Fields) == 0 || b.Text != nil && !b.Text.within(3000, "mrkdwn", "plain_text") || len(b.Fields) > 10 {
				return false
			}
			for _, field := range b.Fields {
				if !field.within(2000, "mrkdwn", "plain_text") {
					return false
				}
			}
		case "context":
			if len(b.Elements) < 1 || len(b.Elements) > 10 {
				return false
			}
			for _, element := range b.Elements {
				var words string
				if element.Type != "image" && (json.Unmarshal(element.Text, &words) != nil || words == "") {
					return false
				}
			}
		case "actions":
			if len(b.Elements) < 1 || len(b.Elements) > 25 {
				return false
			}
			for _, element := range b.Elements {
				var label *text
				if json.Unmarshal(element.Text, &label) != nil || !label.within(75, "plain_text") ||
					utf8.RuneCountInString(element.Value) > 2000 || len(element.ActionID) > 255 || actions[element.ActionID] {
					return false
				}
				if element.Style != "" && element.Style != "primary" && element.Style != "danger" {
					return false
				}
				actions[element.ActionID] = true
			}
		default:
			return false
		}
	}
	return true
}

// Button is one that can be pressed.
type Button struct {
	ActionID string `json:"action_id"`
	BlockID  string `json:"block_id"`
	Label    string `json:"label"`
	Value    string `json:"value"`
	Style    string `json:"style,omitempty"`
}

// Buttons returns the message's buttons.
func (m Message) Buttons() []Button {
	var blocks []block
	if json.Unmarshal(m.Blocks, &blocks) != nil {
		return nil
	}
	var buttons []Button
	for _, b := range blocks {
		for _, element := range b.Elements {
			var label text
			if b.Type == "actions" && element.Type == "button" && json.Unmarshal(element.Text, &label) == nil {
				buttons = append(buttons, Button{element.ActionID, b.BlockID, label.Text, element.Value, element.Style})
			}
		}
	}
	return buttons
}
