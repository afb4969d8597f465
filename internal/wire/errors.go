package wire

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Kind is the reason for an error. It has one status and code, and one type in each
// dialect.
type Kind uint8

// The kinds. The zero value is KindInternal: an unclassified error must never look
// like the caller's fault.
const (
	KindInternal          Kind = iota
	KindBadRequest             // invalid JSON; a missing, invalid or ambiguous field
	KindNoKey                  // no credential
	KindInvalidKey             // unknown, malformed, expired or disabled: the answers are identical
	KindEndpointForbidden      // not among the key's `endpoints`
	KindIPForbidden            // outside the key's `allow_ip`
	KindModelForbidden         // not among the key's or team's `models`
	KindAdminOnly              // a caller's key where an admin key is required
	KindNotPriced              // no price for the model under a usd limit
	KindModelNotFound          // no backend serves the model
	KindUnknownURL             // a path that the gate does not serve
	KindMethod                 // set Allow
	KindBodyTimeout            // the request body arrived too slowly
	KindTooLarge               // over max_body
	KindMediaType              // an unsupported content type or encoding
	KindUpgrade                // a WebSocket upgrade, where the gate serves plain HTTP
	KindRateLimited            // set Unit and RetryAfter
	KindSlowDown               // concurrency limit, queue or throttle
	KindQuota                  // day, week or month quota, or budget
	KindUpstream               // the backend failed
	KindUpstreamTimeout        // the backend took too long
	KindOverloaded             // draining; store or key source unavailable
	kindCount
)

// kindInfo is a row of the error table.
type kindInfo struct {
	status  int
	code    string // OpenAI's; "" is null
	param   string
	message string
	fixed   bool // Errorf ignores its arguments, which could reveal too much
	retry   bool // retryable: sends Retry-After even if RetryAfter is not set
	noRetry bool // sends X-Should-Retry: false
}

// kinds is indexed by Kind.
var kinds = [kindCount]kindInfo{
	KindInternal:          {status: 500, message: "The gateway failed to handle the request.", fixed: true},
	KindBadRequest:        {status: 400, message: "The request is invalid."},
	KindNoKey:             {status: 401, message: "You didn't provide an API key. Send it in an Authorization header: Authorization: Bearer YOUR_KEY.", fixed: true, noRetry: true},
	KindInvalidKey:        {status: 401, code: "invalid_api_key", message: "Incorrect API key provided.", fixed: true, noRetry: true},
	KindEndpointForbidden: {status: 403, code: "insufficient_permissions", message: "This API key may not use this endpoint.", fixed: true, noRetry: true},
	KindIPForbidden:       {status: 403, code: "insufficient_permissions", message: "This API key may not be used from this address.", fixed: true, noRetry: true},
	KindModelForbidden:    {status: 403, code: "model_not_allowed", param: "model", message: "This API key may not use this model.", noRetry: true},
	KindAdminOnly:         {status: 403, code: "insufficient_permissions", message: "This endpoint needs an admin key.", fixed: true, noRetry: true},
	KindNotPriced:         {status: 403, code: "model_not_priced", param: "model", message: "This model has no price, and a budget applies to the request.", noRetry: true},
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

// Types and codes that are used more than once.
const (
	invalidRequest    = "invalid_request_error"
	permission        = "permission_error"
	rateLimit         = "rate_limit_error"
	insufficientQuota = "insufficient_quota"
)

// Error is an error that is sent to the caller in its own dialect. The message must
// not contain a secret, an upstream address or data of another caller.
type Error struct {
	Kind    Kind
	Message string // "": the kind's own
	Param   string // the invalid field; "": the kind's, or null if it has none

	// Status, Type and Code override the kind's if an error of a backend is passed
	// on. Zero values keep the kind's. Type is in the caller's dialect.
	Status     int
	Type, Code string

	Allow      string        // KindMethod: the allowed methods
	RetryAfter time.Duration // 0: one second if the kind is retryable, else no header
	NoRetry    bool          // sends X-Should-Retry: false; always sent for KindQuota
	Spend      bool          // a budget, not a token quota: reported in Anthropic's details
	Unit       string        // KindRateLimited: "requests" (default) or "tokens"

	foreign bool   // the message is a backend's and may quote the caller's prompt
	members []byte // further members of a backend's error, each after a comma
}

// Errorf returns an error of kind k with a formatted message. If the kind has a
// fixed message (keys, scopes, paths, failures of the gate or a backend), Errorf
// ignores format and args: the cause belongs in the log, not in the answer. An
// empty format selects the kind's own message.
func Errorf(k Kind, format string, args ...any) *Error {
	info := k.info()
	if info.fixed || format == "" {
		return &Error{Kind: k, Message: info.message}
	}
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

func (k Kind) info() *kindInfo { return &kinds[k.index()] }

// index returns k, or KindInternal if k is out of range.
func (k Kind) index() Kind {
	if k >= kindCount {
		return KindInternal
	}
	return k
}

// Error returns the status and message for a log. It omits a backend's message,
// which may quote the caller's request.
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

// Write writes the error as the answer to a request: headers, status and body.
func (e *Error) Write(w http.ResponseWriter, d *Dialect, requestID string) {
	body := e.Body(d, requestID)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	// Without this header a 404 or 405 may be cached, and a request that is
	// refused to one key may be allowed to another.
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
	_, _ = w.Write(body) // the caller may have disconnected
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

// setRetry sets the headers from which SDKs decide whether and when to retry.
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

// ceil returns d in units, rounded up: a client that retries a moment too early
// is refused again.
func ceil(d, unit time.Duration) int64 {
	n := int64(d / unit)
	if d%unit != 0 {
		n++
	}
	return n
}
