package backends

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// opening is what the beginning of a 2xx response shows.
type opening uint8

const (
	openNothing  opening = iota // nothing yet: only comments, pings or blanks
	openPreamble                // an answer begins, without anything of it
	openAnswer
	openFailure // an error
	openEmpty   // the response ends without an answer
)

// judge judges the beginning of a response. It is called with all that was read
// so far each time that more was.
type judge struct {
	fallback bool // another backend is left
	events   bool // it is a stream
	text     bool // it may be something else than JSON or a stream
	media    bool // it is of another media type

	shown  opening // so far
	json   jsonScan
	status int    // of openFailure
	body   []byte // of openFailure
}

// newJudge returns the judge of a response with header h.
func newJudge(ex *Attempt, h http.Header) judge {
	j := judge{fallback: ex.Fallback, events: isEvents(h)}
	media := strings.ToLower(strings.TrimSpace(h.Get("Content-Type")))
	j.media = media != "" && !strings.HasPrefix(media, "text/") && !strings.Contains(media, "json")
	switch ex.Endpoint {
	case wire.Speech, wire.Transcriptions, wire.Translations: // sound, subtitles
		j.text = !j.events && !isMedia(h, "application/json")
	}
	return j
}

// decides reports whether nothing that follows in a response changes what is done
// with it. With another backend left, more than the preamble of a stream is
// awaited, for an error that follows it.
func (j *judge) decides(o opening) bool {
	return o > openPreamble || o == openPreamble && j.events && !j.fallback
}

// of judges head. ended reports whether the response ends there.
func (j *judge) of(head []byte, ended bool) opening {
	if j.text && (len(head) > 0 || !ended) {
		return openAnswer
	}
	if !j.events {
		blank := bytes.TrimLeft(bytes.TrimPrefix(head, byteOrderMark), " \t\r\n")
		switch {
		case len(blank) == 0:
			return openNothing.orEmpty(ended)
		case blank[0] == '{' || blank[0] == '[':
			return j.ofJSON(head, ended)
		case startsStream(blank):
			j.events = true // sent with another content type
		case j.media:
			return openAnswer
		default:
			return openEmpty // no API answers with text
		}
	}
	return j.ofEvents(head, ended)
}

// orEmpty returns openEmpty if a response ends with nothing of an answer.
func (o opening) orEmpty(ended bool) opening {
	if ended && o < openAnswer {
		return openEmpty
	}
	return o
}

func (j *judge) ofJSON(head []byte, ended bool) opening {
	if !j.json.scan(head) {
		return openPreamble.orEmpty(ended) // cut
	}
	if !j.json.answers || bytes.Contains(head, []byte(`"error"`)) {
		value := head[:j.json.at]
		if j.status = failureStatus(value); j.status != 0 {
			j.body = value
			return openFailure
		}
	}
	return openAnswer
}

func (j *judge) ofEvents(head []byte, ended bool) opening {
	if ended { // the last event may lack its blank line
		head = append(head[:len(head):len(head)], "\n\n"...)
	}
	shown := openNothing
	for {
		e, rest, whole := cutEvent(head)
		if !whole {
			return shown.orEmpty(ended)
		}
		head = rest
		j.status, j.body = e.failure()
		switch {
		case j.status != 0:
			return openFailure
		case e.isPing():
		case j.fallback && j.failedResponse(e):
			return openFailure
		case e.isDone() && shown == openNothing:
			return openEmpty
		case !e.isDone() && e.isPreamble():
			shown = openPreamble
		case !e.isDone() && e.cut():
			return openEmpty
		default:
			return openAnswer
		}
	}
}

// failedResponse sets the failure of an event response.failed that another
// backend may not have. The event is an answer of the Responses API: the caller
// of the last backend gets it as it is.
func (j *judge) failedResponse(e event) bool {
	var failed struct {
		Type     string
		Response struct{ Error json.RawMessage }
	}
	if !bytes.Contains(e.data, []byte("response.failed")) || json.Unmarshal(e.data, &failed) != nil || failed.Type != "response.failed" {
		return false
	}
	j.body = append(append([]byte(`{"error":`), failed.Response.Error...), '}')
	j.status = failureOrBad(j.body)
	return FallsBack(j.status)
}

// cut reports whether the data of an event is JSON that lacks its end.
func (e event) cut() bool {
	var scan jsonScan
	return len(e.data) > 0 && (e.data[0] == '{' || e.data[0] == '[') && !scan.scan(e.data)
}

// startsStream reports whether text begins as an event stream does.
func startsStream(text []byte) bool {
	for _, field := range []string{":", "data:", "event:", "id:", "retry:", "error:"} {
		if n := min(len(text), len(field)); string(text[:n]) == field[:n] {
			return true
		}
	}
	return false
}
