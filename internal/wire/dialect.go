package wire

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// dialects holds all dialects. The first one answers what belongs to none.
var dialects = []*Dialect{OpenAI, Anthropic}

// Dialect is the family of an API: how its errors look, what it calls its fields
// and how its streams end. A dialect is one file here and one entry of dialects.
type Dialect struct {
	Name string // the word that `api` takes in a backend

	Endpoints []Endpoint // that speak it
	Prefix    string     // of the paths that it answers, also unknown ones; "" for the first dialect

	// Headers.
	KeyHeader     string   // in which backends take their key unless configured otherwise
	VersionHeader string   // which its clients send and its backends need; "" for none
	Version       []string // value of VersionHeader if the client sent none
	HeaderPrefix  string   // of its own headers, which pass in both directions
	RequestID     string   // header of the request id, beside X-Request-Id; "" for none

	// Rate limits.
	LimitPrefix string              // of the headers that report rate limits
	Limits      [limits]LimitHeader // by LimitRequests and so on
	FormatReset func(left time.Duration, at time.Time) string

	// Errors.
	errorTypes   [kindCount]string
	appendError  func(b []byte, e *Error, errorType, requestID string) []byte // the envelope
	appendEvent  func(b []byte, e *Error, errorType string, ep Endpoint, sequence int64) []byte
	upstreamType func(status int, upstream string) string // type of a backend's error

	// KeepAlive holds what a silent stream is sent, by the line break that the stream
	// ends its lines with: "\n" or "\r".
	KeepAlive map[string][]byte

	// CacheBesideInput is set if input_tokens leaves out tokens that were read from or
	// written to a cache.
	CacheBesideInput bool

	// Lists of models.
	PageSize     bool // a request for the list names the size of a page
	appendModel  func(b []byte, m *Model) []byte
	appendModels func(b []byte, models []Model) []byte
}

// LimitHeader holds the canonical names of the headers that report a rate limit.
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

// Dialects returns all dialects. The slice must not be changed.
func Dialects() []*Dialect { return dialects }

// DialectNamed returns the dialect that `api` calls by a name, nil if there is none.
func DialectNamed(name string) *Dialect {
	for _, d := range dialects {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// DialectOf returns the dialect in which to answer a path, also one that the gate
// does not serve: a refusal must be readable to the client that made the request.
// The path decides, never the carrier of the credential: several clients send
// Anthropic's header to OpenAI's routes and the other way round.
func DialectOf(path string) *Dialect {
	for _, d := range dialects[1:] {
		if rest, ok := strings.CutPrefix(path, d.Prefix); ok && (rest == "" || rest[0] == '/') {
			return d
		}
	}
	return dialects[0]
}

// DialectOfClient returns the dialect of a client by its version header, for paths
// that several dialects share, such as the list of models.
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

// errorType returns the type of an error in the dialect.
func (d *Dialect) errorType(e *Error) string {
	if e.Type != "" {
		return e.Type
	}
	return d.errorTypes[e.Kind.index()]
}

// Speaks reports whether the dialect has an endpoint.
func (d *Dialect) Speaks(e Endpoint) bool { return slices.Contains(d.Endpoints, e) }

// IsDialectHeader reports whether a canonical header name is one of a dialect's own.
func IsDialectHeader(name string) bool {
	for _, d := range dialects {
		if strings.HasPrefix(name, d.HeaderPrefix) {
			return true
		}
	}
	return false
}

// IsLimitHeader reports whether a canonical header name reports a rate limit.
func IsLimitHeader(name string) bool {
	for _, d := range dialects {
		if strings.HasPrefix(name, d.LimitPrefix) {
			return true
		}
	}
	return false
}

// keepAlive returns the keep-alive of a dialect by line break.
func keepAlive(text string) map[string][]byte {
	return map[string][]byte{"\n": []byte(text), "\r": []byte(strings.ReplaceAll(text, "\n", "\r"))}
}
