package backends

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

const (
	maxErrorBody     = 64 << 10        // most bytes read of an error's body
	errorBodyTimeout = 5 * time.Second // for the whole body: the caller is waiting for a status
	maxRetryAfter    = 24 * time.Hour
	maxRequestID     = 128
)

// inbound returns the response to pass on to the caller, or an *AttemptError if
// another backend should be tried. wait is how long the backend asked to wait.
func (t *Transport) inbound(res *http.Response, ex *Attempt, secrets []string, wait time.Duration, refusal refusal) (*http.Response, error) {
	ex.Status = res.StatusCode
	ex.UpstreamRequestID = requestID(res.Header, secrets)
	header := res.Header
	ex.judgeAnswer(res.StatusCode, refusal.about, header, wait, t.now())
	if t.keepAnswered(header, ex.OwnLimits, secrets) && ex.Flag == "" {
		ex.Flag = FlagEcho
	}

	// A copy: net/http puts trailers into the original at the end of the body,
	// and trailers are not passed on.
	out := new(http.Response)
	*out = *res
	out.Header, out.Trailer, out.TransferEncoding = header, nil, nil
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		ex.pass(out, secrets)
		return out, nil
	}
	answer := refusal.answer(ex.Endpoint.Dialect(), secrets)
	if ex.Fallback && fallsBack(refusal.status, refusal.about) {
		return nil, &AttemptError{Status: res.StatusCode, RetryAfter: wait, Answer: answer, Err: refusal.cause}
	}
	rewrite(out, answer, wait, ex)
	ex.CallerStatus = out.StatusCode
	if ex.Refused != nil {
		ex.Refused()
	}
	return out, nil
}

// pass prepares a success for the caller: its body is metered, and secrets in it
// are masked.
func (e *Attempt) pass(out *http.Response, secrets []string) {
	m := e.Meter
	if m == nil {
		m = meter.New(meter.Config{Endpoint: e.Endpoint}) // only to decode the body
	}
	out.Body = m.Wrap(out.Header, out.StatusCode, out.ContentLength, &answerBody{out.Body, e, secrets})
	if m.Editing() {
		out.ContentLength = -1
	}
	if len(secrets) > 0 {
		out.Body = masked(out.Body, secrets, func() { e.Flag = FlagEchoBody })
	}
	if encoding := out.Header.Get("Content-Encoding"); strings.EqualFold(encoding, "identity") {
		delete(out.Header, "Content-Encoding")
	} else if encoding != "" {
		e.Flag = FlagEncoding
	}
	e.CallerStatus = out.StatusCode
	if e.KeepOpen {
		e.kept = &keptBody{body: out.Body}
		out.Body = e.kept
	}
	if e.Between != nil && isEvents(out.Header) {
		out.Body = &betweenBody{out.Body, m, e.Between}
	}
}

// rewrite turns a response into an error in the caller's dialect. It keeps the
// backend's filtered headers, other than those about the body, caching and
// retries, if the error is about limits (429, 503, 529) or is a 4xx that is passed on
// unchanged. Otherwise it drops them all. Of X-Should-Retry it keeps false always, and
// true if the status is worth a retry.
func rewrite(out *http.Response, e *wire.Error, wait time.Duration, ex *Attempt) {
	status := e.StatusCode()
	limited := status == http.StatusTooManyRequests || e.Kind == wire.KindOverloaded
	if limited {
		e.RetryAfter = wait
	}
	w := &written{header: make(http.Header)}
	e.Write(w, ex.Endpoint.Dialect(), ex.RequestID)
	// The handler sets the ids itself, and reverse_proxy appends to headers.
	delete(w.header, "X-Request-Id")
	delete(w.header, "Request-Id")

	if limited || status == ex.Status && status < 500 {
		for name, values := range out.Header {
			switch {
			case strings.HasPrefix(name, "Content-"), name == "Cache-Control", name == "Retry-After", name == "Retry-After-Ms", name == "X-Should-Retry":
			default:
				w.header[name] = values
			}
		}
	}
	if advice := out.Header.Get("X-Should-Retry"); advice == "false" || advice == "true" && worthRetry(status) && worthRetry(ex.Status) {
		w.header.Set("X-Should-Retry", advice)
	}
	out.StatusCode = status
	out.Status = strconv.Itoa(status) + " " + http.StatusText(status)
	out.Header = w.header
	out.Body = io.NopCloser(bytes.NewReader(w.body))
	out.ContentLength = int64(len(w.body))
}

// worthRetry reports whether a request that got this status may succeed if it is sent
// again unchanged.
func worthRetry(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests, statusNoCapacity:
		return true
	}
	return status >= 500
}

// written is a ResponseWriter that stores the response.
type written struct {
	header http.Header
	status int
	body   []byte
}

func (w *written) Header() http.Header    { return w.header }
func (w *written) WriteHeader(status int) { w.status = status }
func (w *written) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}

// keepAnswered removes from a backend's header everything that is not on an
// allow-list: servers behind a provider add any headers about accounts, hosts
// and caches. echoed reports whether a header was removed because it holds a
// secret.
func (t *Transport) keepAnswered(h http.Header, ownLimits bool, secrets []string) (echoed bool) {
	for name, values := range h {
		switch {
		case holdsSecretFold(name, secrets) || slices.ContainsFunc(values, func(v string) bool { return wire.HoldsSecret(v, secrets) }):
			echoed = true
		case wire.IsLimitHeader(name) && ownLimits:
		case answered(name), slices.Contains(t.pass, name) && name != "X-Request-Id" && name != "Request-Id":
			continue
		}
		delete(h, name)
	}
	if len(h["Content-Type"]) > 1 { // the gate acts on the first one
		h["Content-Type"] = h["Content-Type"][:1]
	}
	return echoed
}

// answered reports whether a backend's header of this canonical name is passed
// on by default. The gate sets the request ids itself, so those never are.
func answered(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control",
		"Retry-After", "Retry-After-Ms", "X-Should-Retry", "X-Accel-Buffering", "Deprecation", "Sunset":
		return true
	}
	return wire.IsLimitHeader(name) || wire.IsDialectHeader(name) && !namesAccount(name)
}

// requestID returns the backend's id of the request, or "" if it has none that
// is safe to log.
func requestID(h http.Header, secrets []string) string {
	for _, name := range []string{"X-Request-Id", "Request-Id", "Apim-Request-Id"} {
		id := h.Get(name)
		if id == "" || len(id) > maxRequestID || wire.HoldsSecret(id, secrets) ||
			strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			continue
		}
		return id
	}
	return ""
}

// retryAfter returns how long a backend asked to wait, 0 if it did not.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if wait, ok := parseWait(h.Get("Retry-After-Ms"), time.Millisecond); ok {
		return wait
	}
	value := h.Get("Retry-After")
	if value == "" { // the usual case; failing parsers would allocate errors
		return 0
	}
	if wait, ok := parseWait(value, time.Second); ok {
		return wait
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return min(at.Sub(now), maxRetryAfter)
	}
	return 0
}

func parseWait(value string, unit time.Duration) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n >= 0) { // also rejects NaN
		return 0, false
	}
	if n > float64(maxRetryAfter/unit) {
		return maxRetryAfter, true
	}
	return time.Duration(n * float64(unit)), true
}

// readError reads the body of an error, up to maxErrorBody bytes and
// errorBodyTimeout, and closes it.
func readError(body io.ReadCloser) []byte {
	late := time.AfterFunc(errorBodyTimeout, func() { _ = body.Close() })
	defer late.Stop()
	b, _ := io.ReadAll(io.LimitReader(body, maxErrorBody)) // a part of the body is enough
	_ = body.Close()
	return b
}

// answerBody records in ex.Broken why a body broke off. It scrubs that error,
// which is logged and may quote what a backend sent.
type answerBody struct {
	io.ReadCloser
	ex      *Attempt
	secrets []string
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = scrub(err, b.secrets)
		b.ex.Broken = err
	}
	return n, err
}
