package wire

import (
	"net/http"
	"strings"
	"time"
)

// dialects holds all dialects. The first one is the default.
var dialects = complete(
	OpenAI,
	Anthropic,
)

// Dialect describes a family of APIs: its endpoints, headers, error formats and
// field names. A dialect is one file in this package and one entry of dialects. It may
// omit the fields that are marked as optional.
type Dialect struct {
	Name string // value of a backend's `api` subdirective

	// Paths.
	Base      string         // path before those of endpoints, for clients, and for backends by default
	endpoints []endpointInfo // endpoints that use the dialect
	Prefix    string         // path prefix of the dialect, for unknown paths too; "" for the first dialect only
	Azure     AzureAPI       // optional

	// Names that differ from the gate's own; optional.
	RequestNames Names // of members of a request
	AnswerNames  Names // of members of answers, events and errors, and of types of events

	// Headers.
	KeyHeader     string   // default header for the backend's API key; optional: the first dialect's
	VersionHeader string   // header that clients send and backends require; optional
	Version       []string // value of VersionHeader if the client sent none
	HeaderPrefix  string   // prefix of the dialect's own headers, which pass in both directions; optional
	RequestID     string   // header of the request id, in addition to X-Request-Id; optional

	// Rate limits; optional.
	LimitPrefix string              // prefix of the headers that report rate limits
	Limits      [limits]LimitHeader // indexed by LimitRequests and so on
	FormatReset func(left time.Duration, at time.Time) string

	// Errors.
	errorTypes  [kindCount]string                                                              // optional, but for all kinds or none
	appendError func(b []byte, e *Error, errorType, requestID string) []byte                   // appends the JSON envelope
	appendEvent func(b []byte, e *Error, errorType string, ep Endpoint, sequence int64) []byte // optional: an event with the envelope
	// ErrorStatuses are statuses of the dialect's own that its clients know; optional.
	ErrorStatuses []int
	upstreamType  func(status int, upstream string) string // returns the type of a backend's error; optional: upstream

	// KeepAlive holds the keep-alive for an idle stream, indexed by the stream's line
	// break: "\n" or "\r". Optional: a comment.
	KeepAlive map[string][]byte

	// CacheBesideInput reports whether input_tokens excludes the tokens that were read
	// from or written to a cache.
	CacheBesideInput bool

	// Lists of models; optional.
	PageSize     bool // a request for the list sets a page size
	appendModel  func(b []byte, m *Model) []byte
	appendModels func(b []byte, models []Model) []byte
}

// AzureAPI describes how Azure serves a dialect. The zero value is as elsewhere.
type AzureAPI struct {
	Base      string // base path
	Classic   string // base path if requests have an api-version; "" for Base
	KeyHeader string // header for the API key; "" for the dialect's
}

// LimitHeader holds the canonical names of the headers that report one rate limit.
type LimitHeader struct{ Limit, Remaining, Reset string }

// Indexes of Dialect.Limits.
const (
	LimitRequests = iota
	LimitTokens
	LimitInputTokens
	LimitOutputTokens
	limits
)

// complete sets the optional functions and tables that the dialects omit, and returns
// the dialects.
func complete(all ...*Dialect) []*Dialect {
	first := all[0]
	for _, d := range all {
		if d.KeyHeader == "" {
			d.KeyHeader = first.KeyHeader
		}
		if d.FormatReset == nil {
			d.FormatReset = first.FormatReset
		}
		if d.appendEvent == nil {
			d.appendEvent = func(b []byte, e *Error, errorType string, _ Endpoint, _ int64) []byte {
				return append(d.appendError(append(b, "data: "...), e, errorType, ""), "\n\n"...)
			}
		}
		if d.upstreamType == nil {
			d.upstreamType = func(_ int, upstream string) string { return upstream }
		}
		if d.KeepAlive == nil {
			d.KeepAlive = first.KeepAlive
		}
		if d.appendModels == nil {
			d.appendModel, d.appendModels = first.appendModel, first.appendModels
		}
	}
	return all
}

// Dialects returns all dialects. The caller must not modify the slice.
func Dialects() []*Dialect { return dialects }

// DialectNamed returns the dialect with the given name, the first one for "", or nil if
// there is none.
func DialectNamed(name string) *Dialect {
	if name == "" {
		return dialects[0]
	}
	for _, d := range dialects {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// DialectOf returns the dialect in which to answer a request to path, which the gate
// need not serve: the client must be able to parse the error. Only the path decides,
// never the header that carries the credential: several clients send Anthropic's
// header to OpenAI's routes and vice versa.
func DialectOf(path string) *Dialect {
	if c, ok := canonical(path); ok {
		path = c
	}
	for _, d := range dialects[1:] {
		if rest, ok := strings.CutPrefix(path, d.Prefix); ok && (rest == "" || rest[0] == '/') {
			return d
		}
	}
	return dialects[0]
}

// DialectOfClient returns the dialect whose version header h contains, for paths that
// several dialects share, such as the list of models. It defaults to the first one.
func DialectOfClient(h http.Header) *Dialect {
	for _, d := range dialects {
		if d.VersionHeader != "" && h.Get(d.VersionHeader) != "" {
			return d
		}
	}
	return dialects[0]
}

// DialectOfCaller returns the dialect of a client's errors where the path does not
// decide: by its version header, and else by the header that carries its credential.
func DialectOfCaller(h http.Header) *Dialect {
	if d := DialectOfClient(h); d != dialects[0] || h.Get(dialects[0].KeyHeader) != "" {
		return d
	}
	for _, d := range dialects[1:] {
		if d.KeyHeader != "" && d.KeyHeader != dialects[0].KeyHeader && h.Get(d.KeyHeader) != "" {
			return d
		}
	}
	return dialects[0]
}

// String returns the dialect's name.
func (d *Dialect) String() string { return d.Name }

// errorType returns the type of e in the dialect.
func (d *Dialect) errorType(e *Error) string {
	if e.Type != "" {
		return e.Type
	}
	return d.errorTypes[e.Kind.index()]
}

// Speaks reports whether e uses the dialect.
func (d *Dialect) Speaks(e Endpoint) bool { return e.info().dialect == d }

// IsDialectHeader reports whether name, a canonical header name, has a dialect's
// HeaderPrefix.
func IsDialectHeader(name string) bool {
	for _, d := range dialects {
		if d.HeaderPrefix != "" && strings.HasPrefix(name, d.HeaderPrefix) {
			return true
		}
	}
	return false
}

// IsLimitHeader reports whether name, a canonical header name, is that of a header
// that reports a rate limit.
func IsLimitHeader(name string) bool {
	for _, d := range dialects {
		if d.LimitPrefix != "" && strings.HasPrefix(name, d.LimitPrefix) {
			return true
		}
	}
	return false
}

// keepAlive returns text, which has "\n" line breaks, for each line break.
func keepAlive(text string) map[string][]byte {
	return map[string][]byte{"\n": []byte(text), "\r": []byte(strings.ReplaceAll(text, "\n", "\r"))}
}
