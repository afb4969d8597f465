// Package backends is the way from the gate to a model server: a transport for
// Caddy's reverse_proxy that sets the backend's credential, sends the body that
// the gate made, refuses addresses outside dial_allow, passes on of an answer
// what may leave, and meters it as it streams.
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

// Attempt is the state of one attempt at one backend. The handler makes it,
// hangs it on the request's context with [WithAttempt] and reads its second
// half when reverse_proxy has returned. It is not safe for use by two
// goroutines at once.
type Attempt struct {
	// Endpoint is what is asked for; its dialect is the caller's.
	Endpoint wire.Endpoint

	// Path is the upstream path behind the backend's base path, decoded.
	// Default: Endpoint.Path().
	Path string

	// Query is the query that is sent, encoded. Default: none; what the caller
	// wrote is not sent.
	Query string

	// Model is the backend's own name of the model, for APIs that have it in
	// their paths.
	Model string

	// State receives what the attempt shows about the backend. Nil: it is not
	// recorded.
	State *health.BackendState

	// Body is sent where HasBody is set; whatever body the request has is not.
	// net/http may read it for a while after the attempt has ended: its bytes
	// must not be used again for something else.
	Body    request.Body
	HasBody bool

	// Meter sees an answer whose status is 2xx. Nil: the answer is not metered.
	Meter *meter.Meter

	// Refused is called before an answer that is an error for the caller is
	// passed on; the meter sees only what succeeded. Nil: nothing is called.
	Refused func()

	// Between is called when a stream, of an answer whose status is 2xx, is read
	// on at a place between two events, where one of the gate's own may be put,
	// with what that must end its lines with, and with "" before what was read is
	// handed on. Who reads has passed on all that came before. Nil: nothing is
	// called.
	Between func(lineBreak string)

	// Watchdog reports that the backend takes too long. Who asks it must then end
	// the attempt with its error as the cause.
	Watchdog Watchdog

	// KeepOpen keeps the body of an answer whose status is 2xx open when
	// reverse_proxy closes it before its end; see [Attempt.Rest].
	KeepOpen bool

	// Fallback says that another candidate is left: an answer that falls back
	// (see [FallsBack]), also one that is a stream which begins with such an
	// error, is then returned as an *AttemptError, so that reverse_proxy writes
	// nothing.
	Fallback bool

	// OwnLimits says that the gate answers with limits of its own: the
	// backend's rate-limit headers are dropped.
	OwnLimits bool

	// RequestID is the gate's id of the request; it stands in error bodies of
	// the Anthropic dialect.
	RequestID string

	// Status is the backend's own status, also where the caller gets
	// another one (401 becomes 502). Zero: no answer came.
	Status int

	// CallerStatus is the status that the caller gets. Zero: no answer is
	// passed on.
	CallerStatus int

	// Dispatched is set once a connection was had, that is, when the request
	// may have left the gate. A refused or forbidden dial leaves it false.
	Dispatched bool

	// RoundTrips counts the requests that were sent: more than one if reverse_proxy
	// itself retries (lb_retries), or if the backend refused a key.
	RoundTrips int

	// Latency is the time from the start of the last round trip to the headers
	// of its answer, or to its failure.
	Latency time.Duration

	// UpstreamRequestID is the backend's id of the request, bounded and
	// printable, for logs. The caller gets the gate's.
	UpstreamRequestID string

	// Flag says what is odd about the answer.
	Flag Flag

	// Backoff is for how long the backend, or the model of it, cools down because
	// of this attempt. Zero: it does not, or did already.
	Backoff time.Duration

	// Err is why the last round trip had no answer to pass on; nil where it
	// had one. It is set also where reverse_proxy returns nil, because the
	// caller left before the headers.
	Err error

	// Broken is why the answer broke off midway, while it was read from the
	// backend; nil where it did not.
	Broken error

	// Left says that the answer could not be written to the caller, who is gone
	// or takes too long. Behind reverse_proxy only the request's context shows it.
	Left bool

	kept   *keptBody // nil: nothing was kept
	trace  httptrace.ClientTrace
	reused bool // the last connection had served another request before
}

// Flag is what is odd about a backend's answer: worth a log line.
type Flag string

// Flags. The zero value says that nothing is odd.
const (
	FlagHTML       Flag = "html"                  // HTML with a status below 300, which is taken for a 502
	FlagRedirect   Flag = "redirect"              // a status of 3xx, never followed
	FlagUpgrade    Flag = "upgrade"               // 101, though nothing was offered
	FlagCredential Flag = "credential_refused"    // 401 or 403: the backend's key is bad
	FlagEcho       Flag = "credential_in_headers" // a header that holds the backend's key, dropped
	FlagEchoBody   Flag = "credential_in_body"    // an answer or stream that holds it, masked
	FlagErrorEvent Flag = "error_event"           // a stream with a status of 2xx whose first event is an error; another backend is tried
	FlagEncoding   Flag = "encoding"              // compressed, unasked, in a way that can't be undone
)

type attemptKey struct{}

// WithAttempt returns a context that carries e to the transport.
func WithAttempt(ctx context.Context, e *Attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, e)
}

// Request makes what reverse_proxy is given for the attempt out of a caller's
// request: only what may leave the gate, by [ForwardHeader], without the body,
// which the transport sends, and without the Host by which the caller reached
// the gate.
func (e *Attempt) Request(ctx context.Context, in *http.Request, pass []string) *http.Request {
	r := in.WithContext(WithAttempt(ctx, e))
	r.Header = ForwardHeader(in.Header, e.Endpoint, pass)
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, 0, nil, nil
	r.Host = ""
	return r
}

// AttemptFrom returns the attempt that ctx carries, nil where there is none:
// active health checks come without.
func AttemptFrom(ctx context.Context) *Attempt {
	e, _ := ctx.Value(attemptKey{}).(*Attempt)
	return e
}

// FallsBack reports whether an answer of this status is worth another backend: the
// request was refused for lack of room, or failed on the backend's side. 401, 402
// and 403 are about the gate's own credential. Any other 4xx is about the request,
// and would be the same elsewhere.
func FallsBack(status int) bool {
	switch status {
	case 401, 402, 403, 429, 500, 502, 503, 504, 529:
		return true
	}
	return false
}

// AttemptError is what the transport returns when there is no answer to pass
// on: nothing has been written to the caller, and another backend may be tried.
// Its text may name the upstream's address and is for logs only.
type AttemptError struct {
	// Status is the backend's, 0 where no answer came.
	Status int

	// RetryAfter is how long the backend asked to wait, 0 where it did not.
	RetryAfter time.Duration

	// Err is the cause where the status does not say it all, without any
	// credential in its text.
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

// Unwrap makes reverse_proxy see dial errors, which it may retry.
func (e *AttemptError) Unwrap() error { return e.Err }

// Timeout reports whether time ran out; reverse_proxy makes 504 of it, not 502.
func (e *AttemptError) Timeout() bool {
	if e.Status != 0 {
		return e.Status == 504
	}
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary completes net.Error, by which reverse_proxy looks for Timeout.
func (e *AttemptError) Temporary() bool { return false }

// untraced hides reverse_proxy's client trace. Through it a backend's 1xx
// answers reach the caller with all of their headers, before anything here has
// seen them, and even when the attempt then fails and another backend answers.
type untraced struct{ context.Context }

func (c untraced) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	return v
}
