package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits on what is passed on of a backend's error.
const (
	maxUpstreamMessage = 2 << 10 // bytes
	maxUpstreamWord    = 64      // bytes of a type or code
)

// UpstreamError converts the error of a backend to one for the caller. It keeps the
// status and, if the body is JSON, the message, type, param, code and the members in
// upstreamMembers: agents act on them.
//
// The exceptions reveal only that the backend failed: a body that contains one of
// the secrets; a 401, 407 or any status that is no error, which concern the gate's
// own credential or configuration; and a 5xx above 500, which names servers and
// addresses behind the gate, and becomes 502, 503 or 504 unless the caller's dialect
// has that status. Numeric codes become null.
//
// UpstreamError parses the envelopes of OpenAI, Anthropic and vLLM, FastAPI's
// `detail` and Ollama's `{"error":"…"}`. The caller sets RetryAfter from the
// backend's headers.
func UpstreamError(d *Dialect, status int, body []byte, secrets ...string) *Error {
	kind := upstreamKind(status)
	report := parseUpstreamError(d, body)
	if HoldsSecret(string(body), secrets) || HoldsSecret(report.Message+"\n"+report.Param+"\n"+report.Type+"\n"+report.Code, secrets) {
		report = upstreamReport{}
		if status < 500 {
			kind = KindUpstream
		}
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired, status < 400, status > 599:
		return Errorf(KindUpstream, "")
	case kind == KindRateLimited && (report.Type == insufficientQuota || report.Code == insufficientQuota):
		kind = KindQuota
	}
	e := Errorf(kind, "")
	if status < 500 && kind != KindUpstream || status == http.StatusInternalServerError || slices.Contains(d.ErrorStatuses, status) {
		e.Status = status
	}
	if report.Message != "" && status <= http.StatusInternalServerError {
		e.Message, e.Param, e.Code, e.foreign = report.Message, report.Param, report.Code, true
		e.members = appendUpstreamMembers(nil, report.object, secrets)
	} else if kind != KindUpstream && status < 500 {
		e.Message = "The model server refused the request."
	}
	if e.Status != 0 && status < 500 {
		e.Type = d.upstreamType(status, report.Type)
	}
	return e
}

// upstreamKind returns the kind for a backend's status.
func upstreamKind(status int) Kind {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return KindTooLarge
	case http.StatusTooManyRequests:
		return KindRateLimited
	case http.StatusGatewayTimeout, statusTimedOut:
		return KindUpstreamTimeout
	case http.StatusServiceUnavailable, statusOverloaded:
		return KindOverloaded
	}
	if status >= 400 && status < 500 {
		return KindBadRequest
	}
	return KindUpstream
}

// Statuses outside the standard.
const (
	statusTimedOut   = 524 // Cloudflare's, for a server behind it that takes too long
	statusOverloaded = 529 // Anthropic's
)

// upstreamReport holds the fields of a backend's error.
type upstreamReport struct {
	Message, Type, Param, Code string
	object                     json.RawMessage // the object that holds them
}

// upstreamEnvelope is any of the envelopes, or the object inside one.
type upstreamEnvelope struct {
	Error   json.RawMessage `json:"error"`
	Detail  json.RawMessage `json:"detail"`
	Message json.RawMessage `json:"message"`
	Type    json.RawMessage `json:"type"`
	Param   json.RawMessage `json:"param"`
	Code    json.RawMessage `json:"code"`

	Metadata json.RawMessage `json:"metadata"` // OpenRouter
}

// parseUpstreamError parses the envelopes that backends use, and that of dialect d. It
// returns the zero report if the body is none of them.
func parseUpstreamError(d *Dialect, body []byte) (report upstreamReport) {
	var list []json.RawMessage
	if json.Unmarshal(body, &list) == nil && len(list) > 0 {
		body = list[0] // Gemini's errors are lists
	}
	var outer upstreamEnvelope
	if json.Unmarshal(body, &outer) != nil {
		return report
	}
	if d.AnswerNames != nil {
		var members map[string]json.RawMessage
		_ = json.Unmarshal(body, &members) // it is an object
		outer.Error = members[d.AnswerNames.Spell("error")]
	}
	var inner upstreamEnvelope
	report.Message = textOf(outer.Error)
	report.object = outer.Error
	if json.Unmarshal(outer.Error, &inner) != nil {
		inner, report.object = outer, body // old versions of vLLM send no envelope
	}
	if report.Message == "" {
		report.Message = textOf(inner.Message)
	}
	detail := outer.Detail
	if report.Message == "" && len(detail) == 0 { // Mistral's is in the message
		var message upstreamEnvelope
		if detail = inner.Message; json.Unmarshal(inner.Message, &message) == nil && len(message.Detail) > 0 {
			detail = message.Detail
		}
	}
	var param string
	if report.Message == "" {
		report.Message, param = detailOf(detail)
	}
	var metadata struct{ Raw string }
	if _ = json.Unmarshal(inner.Metadata, &metadata); metadata.Raw != "" {
		report.Message += ": " + metadata.Raw
	}
	report.Message = cut(strings.Map(printable, report.Message), maxUpstreamMessage)
	report.Type = wordOf(inner.Type)
	report.Code = wordOf(inner.Code)
	report.Param = cut(strings.Map(printable, textOf(inner.Param)), MaxModelBytes)
	if report.Param == "" {
		report.Param = cut(strings.Map(printable, param), MaxModelBytes)
	}
	return report
}

// detailOf returns the message of FastAPI's detail, which is a string or a list
// of errors, and the field that the first of them is about.
func detailOf(raw json.RawMessage) (message, param string) {
	var faults []struct {
		Message string `json:"msg"`
		Loc     []any  `json:"loc"`
	}
	if json.Unmarshal(raw, &faults) != nil || len(faults) == 0 {
		return textOf(raw), ""
	}
	var all []string
	for i, fault := range faults {
		var path []string
		for _, part := range fault.Loc {
			if part != "body" {
				path = append(path, fmt.Sprint(part))
			}
		}
		at := strings.Join(path, ".")
		if i == 0 {
			param = at
		}
		if len(faults) > 1 && at != "" {
			fault.Message = at + ": " + fault.Message
		}
		all = append(all, fault.Message)
	}
	return strings.Join(all, "; "), param
}

// textOf returns the value of a JSON string; "" for anything else.
func textOf(raw json.RawMessage) (text string) {
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// wordOf returns the value of a JSON string that has the form of an API's type
// or code; "" for numbers and anything else.
func wordOf(raw json.RawMessage) string {
	if word := textOf(raw); isWord(word) {
		return word
	}
	return ""
}

// isWord reports whether s has the form of a type or code, such as
// invalid_request_error.
func isWord(s string) bool {
	if s == "" || len(s) > maxUpstreamWord {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-'
	}) && strings.ContainsFunc(s, func(c rune) bool { return 'a' <= c && c <= 'z' })
}

// printable returns c, or a space for a control character other than a line
// break: messages are read in terminals.
func printable(c rune) rune {
	if c != '\n' && HasControl(string(c)) {
		return ' '
	}
	return c
}

// cut returns s truncated to at most limit bytes, at a character boundary.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
