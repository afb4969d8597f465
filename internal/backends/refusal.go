package backends

import (
	"bytes"
	"errors"
	"net/http"
	"regexp"
	"unicode/utf8"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

// Causes of errors that the gate makes of a response, for logs.
var (
	errRedirect = errors.New("a redirect, which is never followed")
	errUpgrade  = errors.New("an upgrade that nobody offered")
	errEvent    = errors.New("a stream that began with an error")
	errBody     = errors.New("an error in a successful response")
	errNothing  = errors.New("a response without an answer")
	errPage     = errors.New("a web page, taken for a 502")
)

// refusal is a response that is no success.
type refusal struct {
	status int // 502 for what is no error by its status
	about  subject
	body   []byte // decoded
	plain  bool   // a 4xx whose body is plain text
	cause  error  // nil: the status alone
}

// readRefusal reads the body of a response unless it is a success, and flags the
// response. Of an error the body is read even if another backend is tried, so that
// the connection can be reused.
func (e *Attempt) readRefusal(res *http.Response) refusal {
	r := refusal{status: res.StatusCode}
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return r
	case e.Flag == FlagHTML:
		r.cause = errPage
	case res.StatusCode < 200:
		e.Flag, r.status, r.cause = FlagUpgrade, http.StatusBadGateway, errUpgrade
	case res.StatusCode < 400:
		e.Flag, r.status, r.cause = FlagRedirect, http.StatusBadGateway, errRedirect
	case e.Flag == FlagErrorEvent:
		r.cause = errEvent
	case e.Flag == FlagErrorBody:
		r.cause = errBody
	case e.Flag == FlagNoAnswer:
		r.cause = errNothing
	}
	if res.StatusCode < 400 {
		_ = res.Body.Close() // a tunnel, or a page about a redirect
		return r
	}
	decoded := meter.New(meter.Config{Endpoint: e.Endpoint}).Wrap(res.Header, res.StatusCode, res.ContentLength, res.Body)
	r.body = readError(decoded)
	r.about = subjectOf(r.status, r.body)
	r.plain = r.status < 500 && isMedia(res.Header, "text/plain")
	if r.refusesCredential() {
		e.Flag = FlagCredential
	}
	return r
}

// refusesCredential reports whether the backend refused the gate's own key, and not
// the caller's request.
func (r refusal) refusesCredential() bool {
	return r.about == aboutBackend && (r.status == http.StatusUnauthorized || r.status == http.StatusForbidden)
}

// isPrivate reports whether the words of the backend are not the caller's business:
// they are about the gate's own key or account, or come from within a server that
// failed.
func (r refusal) isPrivate() bool {
	switch {
	case r.refusesCredential(), r.about == aboutBackend && r.status == http.StatusPaymentRequired:
		return true
	}
	return r.status == http.StatusInternalServerError && internals.Match(r.body)
}

// internals matches what a crash shows of a server: a stack trace, a path of its file
// system, an address, its host or hardware.
var internals = regexp.MustCompile(`(?i)traceback|stack ?trace|\b(host|gpu|cuda)\b|(^|[\s"'(=])(/[\w.-]+){2,}|[a-z]:\\|\b[0-9]{1,3}(\.[0-9]{1,3}){3}\b|[a-z]+://`)

// answer returns the error for the caller.
func (r refusal) answer(d *wire.Dialect, secrets []string) *wire.Error {
	if r.isPrivate() {
		e := wire.UpstreamError(d, http.StatusBadGateway, nil)
		if r.status == http.StatusInternalServerError {
			e.Status = r.status
		}
		return e
	}
	body := r.body
	if r.plain && !wire.HoldsSecret(string(body), secrets) {
		body = envelope(body)
	}
	return wire.UpstreamError(d, r.status, body, secrets...)
}

// envelope returns the first line of a plain text as the JSON of an error. It returns
// text unchanged if that is JSON or a page, or if the line shows the server's internals.
func envelope(text []byte) []byte {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	if len(line) == 0 || bytes.IndexByte([]byte("{[<"), line[0]) >= 0 || !utf8.Valid(line) || internals.Match(line) {
		return text
	}
	return append(wire.AppendString([]byte(`{"detail":`), string(line)), '}')
}
