package wire

import (
	"encoding/json"
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
// status and, if the body is JSON, the message, type, param and code: agents act on
// them.
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
type upstreamReport struct{ Message, Type, Param, Code string }

// upstreamEnvelope is any of the envelopes, or the object inside one.
type upstreamEnvelope struct {
	Error   json.RawMessage `json:"error"`
	Detail  json.RawMessage `json:"detail"`
	Message json.RawMessage `json:"message"`
	Type    json.RawMessage `json:"type"`
	Param   json.RawMessage `json:"param"`
	Code    json.RawMessage `json:"code"`
}

// parseUpstreamError parses the envelopes that backends use, and that of dialect d. It
// returns the zero report if the body is none of them.
func parseUpstreamError(d *Dialect, body []byte) (report upstreamReport) {
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
	if json.Unmarshal(outer.Error, &inner) != nil {
		inner = outer // old versions of vLLM send no envelope
	}
	if report.Message == "" {
		report.Message = textOf(inner.Message)
	}
	if report.Message == "" {
		report.Message = detailOf(outer.Detail)
	}
	report.Message = cut(strings.Map(printable, report.Message), maxUpstreamMessage)
	report.Type = wordOf(inner.Type)
	report.Code = wordOf(inner.Code)
	report.Param = cut(strings.Map(printable, textOf(inner.Param)), MaxModelBytes)
	return report
}

// detailOf returns the message of FastAPI's detail, which is a string or a list
// of errors. Of a list it returns the first one.
func detailOf(raw json.RawMessage) string {
	var faults []struct {
		Message string `json:"msg"`
	}
	if json.Unmarshal(raw, &faults) == nil && len(faults) > 0 {
		return faults[0].Message
	}
	return textOf(raw)
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
