package wire

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Kind is the reason of a refusal. It has one status and code, and one type in each
// dialect.
type Kind uint8

// The kinds. The zero value is KindInternal: an error that nobody classified
// must never look like the caller's fault.
const (
	KindInternal          Kind = iota
	KindBadRequest             // bad JSON, a field that is missing, wrong or ambiguous
	KindNoKey                  // no credential
	KindInvalidKey             // unknown, malformed, expired, disabled: told apart by nothing
	KindEndpointForbidden      // the key's `endpoints` leave it out
	KindIPForbidden            // outside the key's `allow_ip`
	KindModelForbidden         // the key's or team's `models` leave it out
	KindAdminOnly              // a caller's key where an admin key is needed
	KindNotPriced              // no price for the model under a usd limit
	KindModelNotFound          // no backend serves it
	KindUnknownURL             // a path that the gate does not serve
	KindMethod                 // set Allow
	KindBodyTimeout            // the body came too slowly
	KindTooLarge               // over max_body
	KindMediaType              // a content type or encoding that the gate does not take
	KindUpgrade                // a WebSocket, where the gate speaks HTTP
	KindRateLimited            // set Unit and RetryAfter
	KindSlowDown               // concurrency, queue, throttle
	KindQuota                  // day, week or month quota, or budget
	KindUpstream               // the backend failed
	KindUpstreamTimeout        // the backend took too long
	KindOverloaded             // draining, store away, key source away
	kindCount
)

// kindInfo is a row of the error table.
type kindInfo struct {
	status  int
	code    string // OpenAI's; "" is null
	param   string
	message string
	fixed   bool // Errorf ignores its arguments, which could reveal too much
	retry   bool // is worth a retry: carries retry-after even where nobody set one
	noRetry bool // x-should-retry: false
}

// kinds is indexed by Kind.
var kinds = [kindCount]kindInfo{
	KindInternal:          {status: 500, message: "The gateway failed to handle the request.", fixed: true},
	KindBadRequest:        {status: 400, message: "The request is invalid."},
	KindNoKey:             {status: 401, message: "You didn't provide an API key. Send it in an Authorization header: Authorization: Bearer YOUR_KEY.", fixed: true},
	KindInvalidKey:        {status: 401, code: "invalid_api_key", message: "Incorrect API key provided.", fixed: true},
	KindEndpointForbidden: {status: 403, code: "insufficient_permissions", message: "This API key may not use this endpoint.", fixed: true},
	KindIPForbidden:       {status: 403, code: "insufficient_permissions", message: "This API key may not be used from this address.", fixed: true},
	KindModelForbidden:    {status: 403, code: "model_not_allowed", param: "model", message: "This API key may not use this model."},
	KindAdminOnly:         {status: 403, code: "insufficient_permissions", message: "This endpoint needs an admin key.", fixed: true},
	KindNotPriced:         {status: 403, code: "model_not_priced", param: "model", message: "This model has no price, and a budget applies to the request."},
	KindModelNotFound:     {status: 404, code: "model_not_found", param: "model", message: "The model does not exist."},
	KindUnknownURL:        {status: 404, code: "unknown_url", message: "Unknown request URL.", fixed: true},
	KindMethod:            {status: 405, message: "This method is not allowed here.", fixed: true},
	KindBodyTimeout:       {status: 408, message: "The request body arrived too slowly."},
	KindTooLarge:          {status: 413, code: "request_too_large", message: "The request body is too large."},
	KindMediaType:         {status: 415, message: "This content type or encoding is not supported."},
	KindUpgrade:           {status: 426, code: "websocket_not_supported", message: "WebSocket is not supported here. Send the request as an HTTP POST.", fixed: true},
	KindRateLimited:       {status: 429, code: "rate_limit_exceeded", message: "Rate limit reached.", retry: true},
	KindSlowDown:          {status: 429, code: "slow_down", message: "Too many requests at once. Please slow down.", retry: true},
	KindQuota:             {status: 429, code: insufficientQuota, message: "The quota is used up.", noRetry: true},
	KindUpstream:          {status: 502, code: "upstream_error", message: "The model server failed to answer.", fixed: true},
	KindUpstreamTimeout:   {status: 504, code: "upstream_timeout", message: "The model server took too long to answer.", fixed: true},
	KindOverloaded:        {status: 503, code: "server_is_overloaded", message: "The service is overloaded. Please try again.", retry: true},
}

// Words that stand in the table more than once.
const (
	invalidRequest    = "invalid_request_error"
	permission        = "permission_error"
	rateLimit         = "rate_limit_error"
	insufficientQuota = "insufficient_quota"
)

// Error is a refusal that is sent to the caller in its own dialect. The message must
// hold no secret, no upstream address and nothing of another caller.
type Error struct {
	Kind    Kind
	Message string // "": the kind's own
	Param   string // the field at fault; "": the kind's, and null where it has none

	// Status, Type and Code replace the kind's where an error of a backend is
	// passed on. Zero values leave the kind's. Type is in the caller's dialect.
	Status     int
	Type, Code string

	Allow      string        // KindMethod: the methods that are allowed
	RetryAfter time.Duration // 0: a second where a retry is worth it, else no header
	NoRetry    bool          // sends x-should-retry: false; always so for KindQuota
	Spend      bool          // a budget, not a quota of tokens: Anthropic's details say so
	Unit       string        // KindRateLimited: "requests" (default) or "tokens"

	foreign bool // the message came from a backend and may quote the caller's prompt
}

// Errorf returns an error. If the kind has a fixed message (keys, scopes,
// paths, failures of the gate or a backend) that one is used whatever is
// given: the cause belongs in the log, not in the answer. An empty format
// stands for the kind's own message.
func Errorf(k Kind, format string, args ...any) *Error {
	info := k.info()
	if info.fixed || format == "" {
		return &Error{Kind: k, Message: info.message}
	}
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

func (k Kind) info() *kindInfo { return &kinds[k.index()] }

// index returns k, or KindInternal for a value that is no kind.
func (k Kind) index() Kind {
	if k >= kindCount {
		return KindInternal
	}
	return k
}

// Error describes the refusal for a log. It leaves out a message that came
// from a backend, which may quote what the caller sent.
func (e *Error) Error() string {
	message := e.message()
	if e.foreign {
		message = "message of the backend withheld"
	}
	return strconv.Itoa(e.StatusCode()) + ": " + message
}

// StatusCode returns the HTTP status.
func (e *Error) StatusCode() int {
	if e.Status != 0 {
		return e.Status
	}
	return e.Kind.info().status
}

func (e *Error) message() string {
	if e.Message != "" {
		return e.Message
	}
	return e.Kind.info().message
}

// Write answers a request with the error: headers, status and body.
func (e *Error) Write(w http.ResponseWriter, d *Dialect, requestID string) {
	body := e.Body(d, requestID)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	// A 404 or 405 may be cached without this header, and what is refused to
	// one key is another's good answer.
	h.Set("Cache-Control", "no-store")
	setRequestID(h, d, requestID)
	status := e.StatusCode()
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if status == http.StatusUpgradeRequired { // RFC 9110 §15.5.22
		h.Set("Upgrade", "HTTP/1.1")
		h.Set("Connection", "Upgrade")
	}
	e.setRetry(h)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone
}

func setRequestID(h http.Header, d *Dialect, id string) {
	if id == "" {
		return
	}
	h.Set("X-Request-Id", id)
	if d.RequestID != "" {
		h.Set(d.RequestID, id)
	}
}

// setRetry sets the headers by which SDKs decide whether and when to retry.
func (e *Error) setRetry(h http.Header) {
	noRetry := e.NoRetry || e.Kind.info().noRetry
	if noRetry {
		h.Set("X-Should-Retry", "false")
	}
	after := e.RetryAfter
	if after <= 0 {
		if noRetry || !e.Kind.info().retry {
			return
		}
		after = time.Second
	}
	h.Set("Retry-After", strconv.FormatInt(ceil(after, time.Second), 10))
	h.Set("Retry-After-Ms", strconv.FormatInt(ceil(after, time.Millisecond), 10))
}

// ceil returns d in units, rounded up: a client that comes back a moment too
// early is refused again.
func ceil(d, unit time.Duration) int64 {
	n := int64(d / unit)
	if d%unit != 0 {
		n++
	}
	return n
}
