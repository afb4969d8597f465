package backends

import (
	"bytes"
	"encoding/json"
)

// event is an event of a stream.
type event struct {
	name []byte
	data []byte
	line []byte // the value of a line `error: …`, as llama.cpp sends it
}

// cutEvent returns the first event of head once it is complete, and the rest
// behind it. The event may point into head.
func cutEvent(head []byte) (e event, rest []byte, whole bool) {
	for {
		end := bytes.IndexAny(head, "\r\n")
		if end < 0 {
			return e, head, false
		}
		line := head[:end]
		if head = head[end:]; bytes.HasPrefix(head, []byte("\r\n")) {
			head = head[1:]
		}
		head = head[1:]
		if len(line) == 0 {
			if e.name != nil || e.data != nil || e.line != nil {
				return e, head, true
			}
			continue
		}
		name, value, _ := bytes.Cut(bytes.TrimPrefix(line, byteOrderMark), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.name = value
		case "error":
			e.line = value
			return e, head, true
		case "data":
			if e.data == nil {
				e.data = value
				continue
			}
			e.data = append(append(e.data[:len(e.data):len(e.data)], '\n'), value...)
		}
	}
}

var byteOrderMark = []byte("\xEF\xBB\xBF")

// failure returns the status that an event stands for, with the JSON that says
// why, if it is an error. It returns 0 for any other event.
func (e event) failure() (status int, body []byte) {
	if e.line != nil {
		return max(failureOrBad(wrapped(e.line)), failureOrBad(e.line)), wrapped(e.line)
	}
	if string(e.name) == "error" {
		if status = failureStatus(e.data); status == 0 || status == 502 {
			status = failureOrBad(wrapped(e.data)) // the error itself, or text
		}
		return status, e.data
	}
	if e.name != nil && string(e.name) != "message" && !bytes.Contains(e.data, []byte(`"error"`)) {
		return 0, nil
	}
	var scan jsonScan
	if scan.scan(e.data) && scan.answers && !bytes.Contains(e.data, []byte(`"error"`)) {
		return 0, nil // the usual case
	}
	return failureStatus(e.data), e.data
}

// wrapped returns an error in an envelope, unless it has one.
func wrapped(inner []byte) []byte {
	if !json.Valid(inner) {
		inner, _ = json.Marshal(string(inner))
	} else if bytes.Contains(inner, []byte(`"error"`)) {
		return inner
	}
	return append(append([]byte(`{"error":`), inner...), '}')
}

func failureOrBad(body []byte) int {
	if status := failureStatus(body); status != 0 {
		return status
	}
	return 502
}

// isPing reports whether an event says only that the server is alive.
func (e event) isPing() bool {
	if len(e.data) == 0 || string(e.name) == "ping" || string(e.name) == "heartbeat" || string(e.name) == "keepalive" {
		return true
	}
	if len(e.data) > 200 {
		return false
	}
	var ping struct{ Type string }
	return json.Unmarshal(e.data, &ping) == nil && (ping.Type == "ping" || ping.Type == "keepalive")
}

// isDone reports whether an event is the end of a chat.
func (e event) isDone() bool { return string(bytes.TrimSpace(e.data)) == "[DONE]" }

// isPreamble reports whether an event begins an answer and has nothing of it
// yet: a chat's chunk with only the role, a message_start, a response.created.
func (e event) isPreamble() bool {
	var begun struct {
		Type    string
		Usage   json.RawMessage
		Choices *[]struct {
			Delta        map[string]json.RawMessage
			Text         string
			FinishReason json.RawMessage `json:"finish_reason"`
		}
		Block struct{ Type, Text, Thinking string } `json:"content_block"`
	}
	if json.Unmarshal(e.data, &begun) != nil {
		return false
	}
	switch begun.Type {
	case "message_start", "response.created", "response.in_progress", "response.queued":
		return true
	case "content_block_start":
		return (begun.Block.Type == "text" || begun.Block.Type == "thinking") && begun.Block.Text+begun.Block.Thinking == ""
	}
	if begun.Choices == nil || has(begun.Usage) {
		return false
	}
	for _, c := range *begun.Choices {
		if c.Text != "" || has(c.FinishReason) {
			return false
		}
		for name, value := range c.Delta {
			if name != "role" && has(value) {
				return false
			}
		}
	}
	return true
}
