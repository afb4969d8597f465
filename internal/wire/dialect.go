package wire

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// dialects holds all dialects. The first one is the default.
var dialects = []*Dialect{OpenAI, Anthropic}

// Dialect describes a family of APIs: its endpoints, headers, error formats and
// field names. A dialect is one file in this package and one entry of dialects.
type Dialect struct {
	Name string // value of a backend's `api` subdirective

	Endpoints []Endpoint // endpoints that use the dialect
	Prefix    string     // path prefix of the dialect, for unknown paths too; "" for the first dialect

	// Headers.
	KeyHeader     string   // default header for the backend's API key
	VersionHeader string   // header that clients send and backends require; "" for none
	Version       []string // value of VersionHeader if the client sent none
	HeaderPrefix  string   // prefix of the dialect's own headers, which pass in both directions
	RequestID     string   // header of the request id, in addition to X-Request-Id; "" for none

	// Rate limits.
	LimitPrefix string              // prefix of the headers that report rate limits
	Limits      [limits]LimitHeader // indexed by LimitRequests and so on
	FormatReset func(left time.Duration, at time.Time) string

	// Errors.
	errorTypes   [kindCount]string
	appendError  func(b []byte, e *Error, errorType, requestID string) []byte // appends the JSON envelope
	appendEvent  func(b []byte, e *Error, errorType string, ep Endpoint, sequence int64) []byte
	upstreamType func(status int, upstream string) string // returns the type of a backend's error

	// KeepAlive holds the keep-alive for an idle stream, indexed by the stream's line
	// break: "\n" or "\r".
	KeepAlive map[string][]byte

	// CacheBesideInput reports whether input_tokens excludes the tokens that were read
	// from or written to a cache.
	CacheBesideInput bool

	// Lists of models.
	PageSize     bool // a request for the list sets a page size
	appendModel  func(b []byte, m *Model) []byte
	appendModels func(b []byte, models []Model) []byte
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

// byEndpoint holds the dialect of each endpoint.
var byEndpoint = func() (all [len(endpoints)]*Dialect) {
	for i := range all {
		all[i] = dialects[0]
	}
	for _, d := range dialects {
		for _, e := range d.Endpoints {
			all[e] = d
		}
	}
	return all
}()

// Dialects returns all dialects. The caller must not modify the slice.
func Dialects() []*Dialect { return dialects }

// DialectNamed returns the dialect with the given name, or nil if there is none.
func DialectNamed(name string) *Dialect {
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
func (d *Dialect) Speaks(e Endpoint) bool { return slices.Contains(d.Endpoints, e) }

// IsDialectHeader reports whether name, a canonical header name, has a dialect's
// HeaderPrefix.
func IsDialectHeader(name string) bool {
	for _, d := range dialects {
		if strings.HasPrefix(name, d.HeaderPrefix) {
			return true
		}
	}
	return false
}

// IsLimitHeader reports whether name, a canonical header name, is that of a header
// that reports a rate limit.
func IsLimitHeader(name string) bool {
	for _, d := range dialects {
		if strings.HasPrefix(name, d.LimitPrefix) {
			return true
		}
	}
	return false
}

// keepAlive returns text, which has "\n" line breaks, for each line break.
func keepAlive(text string) map[string][]byte {
	return map[string][]byte{"\n": []byte(text), "\r": []byte(strings.ReplaceAll(text, "\n", "\r"))}
}
