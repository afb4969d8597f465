package backends

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// event is an event of a stream.
type event struct {
	name []byte
	data []byte
}

// cutEvent returns the first event of head once it is complete. The event may
// point into head.
func cutEvent(head []byte) (e event, whole bool) {
	for {
		end := bytes.IndexAny(head, "\r\n")
		if end < 0 {
			return e, false
		}
		line := head[:end]
		if head = head[end:]; bytes.HasPrefix(head, []byte("\r\n")) {
			head = head[1:]
		}
		head = head[1:]
		if len(line) == 0 {
			if e.name != nil || e.data != nil {
				return e, true
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.name = value
		case "data":
			if e.data == nil {
				e.data = value
				continue
			}
			e.data = append(append(e.data[:len(e.data):len(e.data)], '\n'), value...)
		}
	}
}

func (e event) isError() bool { return string(e.name) == "error" }

// eventStatus returns the status that an error event stands for, or 0 for any
// other event and for an error that the caller caused.
func eventStatus(e event) int {
	if !e.isError() && !bytes.Contains(e.data, []byte(`"error"`)) {
		return 0
	}
	var payload struct {
		Type  string
		Error json.RawMessage
	}
	if json.Unmarshal(e.data, &payload) != nil && !e.isError() {
		return 0
	}
	if !e.isError() && payload.Type != "error" && (len(payload.Error) == 0 || string(payload.Error) == "null") {
		return 0
	}
	var inner struct {
		Type string
		Code json.RawMessage
	}
	_ = json.Unmarshal(payload.Error, &inner) // a string has neither
	var code int
	if json.Unmarshal(inner.Code, &code) == nil && code >= 400 && code < 600 {
		if FallsBack(code) {
			return code
		}
		return 0
	}
	switch kind := strings.ToLower(inner.Type); {
	case kind == "overloaded_error":
		return 529
	case strings.HasPrefix(kind, "rate_limit"):
		return http.StatusTooManyRequests
	case kind == "timeout_error":
		return http.StatusGatewayTimeout
	case strings.HasPrefix(kind, "invalid"), strings.HasPrefix(kind, "badrequest"), strings.HasPrefix(kind, "not"), strings.HasPrefix(kind, "request_too_large"):
		return 0
	}
	return http.StatusBadGateway
}
