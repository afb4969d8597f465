// Package backends sends requests to model servers. Its transport for Caddy's
// reverse_proxy sets the backend's credential, sends the body that the gate
// built, refuses addresses outside dial_allow, filters responses, and meters
// them as they stream.
package backends

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/internal/wire/request"
)

// Attempt is the state of one attempt at one backend. The handler creates it,
// adds it to the request's context with [WithAttempt] and reads the fields from
// Status on when reverse_proxy has returned. It is not safe for concurrent use.
type Attempt struct {
	// Endpoint is the requested endpoint; its dialect is the caller's.
	Endpoint wire.Endpoint

	// Path is the upstream path after the backend's base path, decoded. Default:
	// Endpoint.Path().
	Path string

	// Query is the query that is sent, encoded. Default: none. The caller's
	// query is not sent.
	Query string

	// Model is the backend's own name of the model, for APIs with the model in
	// the path.
	Model string

	// State receives the attempt's outcome for the health of the backend. Nil:
	// it is not recorded.
	State *health.BackendState

	// Key is the id of the caller's key. What its requests may have caused is
	// recorded for it alone.
	Key string

	// Body is sent if HasBody is set; the request's own body never is. net/http
	// may read it for a while after the attempt has ended, so its bytes must not
	// be reused.
	Body    request.Body
	HasBody bool

	// Meter meters a 2xx response. Nil: the response is not metered.
	Meter *meter.Meter

	// Refused is called before an error response is passed on to the caller; the
	// meter sees only successful responses. Nil: nothing is called.
	Refused func()

	// Between is called before a Read of a 2xx stream that starts between two
	// events, where the gate may insert an event of its own. lineBreak is what
	// the lines of that event must end with. By then the reader has passed on
	// all earlier bytes. Between is called with "" before that Read returns.
	// Nil: nothing is called.
	Between func(lineBreak string)

	// Watchdog detects that the backend takes too long. Whoever calls
	// [Watchdog.Expired] must then cancel the attempt with the returned error as
	// the cause.
	Watchdog Watchdog

	// KeepOpen keeps the body of a 2xx response open when reverse_proxy closes
	// it before its end; see [Attempt.Rest].
	KeepOpen bool

	// Fallback is set if another candidate is left. A response that falls back
	// (see [FallsBack]), or a 2xx response that is such an error, is then
	// returned as an *AttemptError, so that reverse_proxy writes nothing.
	Fallback bool

	// Patience bounds how long the beginning of a response is held back while it
	// does not show yet whether the backend answers. Default: 15 seconds.
	Patience time.Duration

	// OwnLimits is set if the gate sends rate-limit headers of its own: the
	// backend's are dropped.
	OwnLimits bool

	// RequestID is the gate's id of the request, for error bodies of the
	// Anthropic dialect.
	RequestID string

	// Status is the backend's own status, even if the caller gets another one
	// (401 becomes 502). Zero: no response.
	Status int

	// CallerStatus is the status that the caller gets. Zero: no response is
	// passed on.
	CallerStatus int

	// Dispatched is set once a connection was obtained, that is, when the
	// request may have left the gate. It stays false after a refused or
	// forbidden dial.
	Dispatched bool

	// RoundTrips counts the requests that were sent: more than one if
	// reverse_proxy itself retries (lb_retries), or if the backend refused a
	// key.
	RoundTrips int

	// Latency is the time from the start of the last round trip to the header of
	// its response, or to its failure.
	Latency time.Duration

	// UpstreamRequestID is the backend's id of the request, bounded and
	// printable, for logs. The caller gets the gate's.
	UpstreamRequestID string

	// Flag is an anomaly of the response.
	Flag Flag

	// Backoff is how long the backend, or its model, cools down because of this
	// attempt. Zero: it does not, or was cooling down already.
	Backoff time.Duration

	// Err is why the last round trip had no response to pass on; nil if it had
	// one. It is set even if reverse_proxy returns nil because the caller left
	// before the header.
	Err error

	// Broken is the error that ended the response body early while it was read
	// from the backend; nil if none did.
	Broken error

	// Left is set if the response could not be written because the caller is
	// gone or too slow. Behind reverse_proxy only the request's context shows
	// that.
	Left bool

	kept    *keptBody // nil: KeepOpen was not used
	trace   httptrace.ClientTrace
	reused  bool // the last connection had served an earlier request
	unbegun bool // only comments of the response are read; its watchdog waits for more

	connected bool      // the last round trip had a connection
	sent      time.Time // when the last round trip began
}

// Flag is an anomaly of a backend's response that is worth a log line.
type Flag string

// Flags. The zero value means that there is no anomaly.
const (
	FlagHTML       Flag = "html"                  // HTML with a 2xx status, treated as a 502
	FlagRedirect   Flag = "redirect"              // a status of 3xx, never followed
	FlagUpgrade    Flag = "upgrade"               // 101 without an offer by the gate
	FlagCredential Flag = "credential_refused"    // 401 or 403: the backend refused the gate's key
	FlagEcho       Flag = "credential_in_headers" // a response header held the backend's key and was dropped
	FlagEchoBody   Flag = "credential_in_body"    // a response body held the key, which was masked
	FlagErrorEvent Flag = "error_event"           // a 2xx stream that begins with an error
	FlagErrorBody  Flag = "error_in_body"         // a 2xx response whose body is an error
	FlagNoAnswer   Flag = "no_answer"             // a 2xx response that ends before an answer, treated as a 502
	FlagEncoding   Flag = "encoding"              // unrequested compression that the gate cannot decode
)

type attemptKey struct{}

// WithAttempt returns a context that carries e to the transport.
func WithAttempt(ctx context.Context, e *Attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, e)
}

// Request returns the request to pass to reverse_proxy for the attempt. It holds
// only what may be sent upstream: the headers that [ForwardHeader] selects, no
// body, since the transport sends it, and not the caller's Host, which names the
// gate.
func (e *Attempt) Request(ctx context.Context, in *http.Request, pass []string) *http.Request {
	r := in.WithContext(WithAttempt(ctx, e))
	r.Header = ForwardHeader(in.Header, e.Endpoint, pass)
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, 0, nil, nil
	r.Host = ""
	return r
}

// AttemptFrom returns the attempt that ctx carries, or nil if there is none:
// active health checks have none.
func AttemptFrom(ctx context.Context) *Attempt {
	e, _ := ctx.Value(attemptKey{}).(*Attempt)
	return e
}

// FallsBack reports whether a response of this status is worth another backend:
// the request was refused for lack of capacity, or failed on the backend's side or
// on the way there. 401, 402 and 403 concern the gate's own credential. Any other
// 4xx concerns the request, and would be the same elsewhere.
func FallsBack(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusRequestTimeout,
		http.StatusTooEarly, http.StatusTooManyRequests, statusNoCapacity:
		return true
	}
	return status >= 500
}

// statusNoCapacity is Groq's status for a flex request that it has no room for.
const statusNoCapacity = 498

// fallsBack reports whether a response is worth another backend: see [FallsBack].
// Another one may have the model that this one lacks. What a backend refuses for
// its content (403) is not offered to others.
func fallsBack(status int, s subject) bool {
	switch {
	case s == aboutModel:
		return true
	case status == http.StatusForbidden:
		return s == aboutBackend
	}
	return FallsBack(status)
}

// AttemptError is returned by the transport if there is no response to pass on:
// nothing has been written to the caller, and another backend may be tried. Its
// text may contain the upstream's address and is for logs only.
type AttemptError struct {
	// Status is the backend's status, 0 if there was no response.
	Status int

	// RetryAfter is how long the backend asked to wait, 0 if it did not.
	RetryAfter time.Duration

	// Answer is the backend's error in the caller's dialect, for when no other
	// backend answers. Nil: there was no response.
	Answer *wire.Error

	// Err is the cause if the status alone does not explain it. Its text holds
	// no credential.
	Err error
}

func (e *AttemptError) Error() string {
	switch {
	case e.Err == nil:
		return fmt.Sprintf("backend answered %d", e.Status)
	case e.Status != 0:
		return fmt.Sprintf("backend answered %d: %v", e.Status, e.Err)
	}
	return fmt.Sprintf("backend did not answer: %v", e.Err)
}

// Unwrap returns Err, so that reverse_proxy finds dial errors, which it may
// retry.
func (e *AttemptError) Unwrap() error { return e.Err }

// Timeout reports whether the attempt timed out; reverse_proxy then responds
// with 504 instead of 502.
func (e *AttemptError) Timeout() bool {
	if e.Status != 0 {
		return e.Status == 504
	}
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary completes net.Error, which reverse_proxy checks for Timeout.
func (e *AttemptError) Temporary() bool { return false }

// untraced hides reverse_proxy's client trace, through which a backend's 1xx
// responses would reach the caller with all of their headers: unfiltered, and
// even if the attempt then fails and another backend answers.
type untraced struct{ context.Context }

func (c untraced) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	return v
}
