package backends

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxFirstEvent bounds how much of a stream is looked at for its first event.
const maxFirstEvent = 4 << 10 // bytes

var errFirstEvent = errors.New("the stream began with an error")

// firstEvent reads the first event of a stream whose status promised an answer,
// with any comments before it. It returns the status that the answer should have
// had where the event is an error that another backend may not have, else 0; the
// body is then as it was. The error is that of a stream which broke off before.
func firstEvent(res *http.Response) (status int, err error) {
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode/100 != 2 || !strings.EqualFold(strings.TrimSpace(media), "text/event-stream") || res.Header.Get("Content-Encoding") != "" {
		return 0, nil
	}
	head := make([]byte, 0, maxFirstEvent)
	for len(head) < cap(head) {
		var n int
		n, err = res.Body.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		event, whole := cutEvent(head)
		if whole {
			status = eventStatus(event)
			break
		}
		if err != nil {
			break
		}
	}
	if err != nil && err != io.EOF && len(head) == 0 {
		return 0, err
	}
	res.Body = &headedBody{head: head, err: err, ReadCloser: res.Body}
	return status, nil
}

// headedBody is a body of which the head was read already.
type headedBody struct {
	head []byte
	err  error // that came with the head, behind which nothing is
	io.ReadCloser
}

func (b *headedBody) Read(p []byte) (int, error) {
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.ReadCloser.Read(p)
}

// event is one of a stream: its name, and its data.
type event struct {
	name string
	data []byte
}

// cutEvent returns the first event, once it is whole.
func cutEvent(head []byte) (e event, whole bool) {
	for {
		end := bytes.IndexByte(head, '\n')
		if end < 0 {
			return e, false
		}
		line := bytes.TrimSuffix(head[:end], []byte("\r"))
		head = head[end+1:]
		if len(line) == 0 {
			if e.name != "" || e.data != nil {
				return e, true
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.name = string(value)
		case "data":
			e.data = append(append(e.data, value...), '\n')
		}
	}
}

// eventStatus is the status that an error's event stands for, 0 for any other
// event and for an error that is the caller's.
func eventStatus(e event) int {
	if e.name != "error" && !bytes.Contains(e.data, []byte(`"error"`)) {
		return 0
	}
	var told struct {
		Type  string
		Error json.RawMessage
	}
	if json.Unmarshal(e.data, &told) != nil && e.name != "error" {
		return 0
	}
	if e.name != "error" && told.Type != "error" && (len(told.Error) == 0 || string(told.Error) == "null") {
		return 0
	}
	var inner struct {
		Type string
		Code json.RawMessage
	}
	_ = json.Unmarshal(told.Error, &inner) // a text has neither
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
