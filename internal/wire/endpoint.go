package wire

import (
	"net/http"
	"slices"
)

// Endpoint is an API endpoint that the gate serves. The zero value is Unknown:
// the gate answers 404 and forwards nothing.
type Endpoint uint8

// The endpoints that code refers to. A dialect may have others, which have no constant.
const (
	Unknown Endpoint = iota
	Chat
	Completions
	Responses
	Compact     // POST /v1/responses/compact
	InputTokens // POST /v1/responses/input_tokens
	Embeddings
	Messages
	CountTokens
	ImageGenerations
	ImageEdits
	Transcriptions
	Translations
	Speech
	Moderations
	Rerank
	ListModels
	GetModel
	GetResponse
	Usage  // GET /v1/usage, for admin keys
	Key    // GET /v1/key, the caller's own limits and usage
	Health // GET /healthz
	Ready  // GET /readyz
	Probe  // GET /, which clients send before anything else, often as HEAD
	named  // the number of these constants
)

// trait is a property of an endpoint.
type trait uint16

const (
	metered    trait = 1 << iota // a POST that reaches a backend and is charged
	generates                    // the answer costs output tokens
	streams                      // the caller may ask for a stream
	form                         // the body is multipart/form-data
	modelless                    // the API has a default model
	prose                        // the answer is generated text, metered as it arrives
	asksUsage                    // a stream ends with its usage only if the request asks for it
	terminated                   // a stream ends with a terminal event
	deployed                     // in Azure's classic API, it is below a deployment
	counts                       // counts tokens: no model answers, so it is not charged
)

// endpointInfo holds the fixed properties of an endpoint.
type endpointInfo struct {
	endpoint Endpoint // its constant; Unknown for one that has none
	label    string   // in metrics, usage and logs
	group    string   // value of the `endpoints` subdirective
	method   string
	path     string // after the dialect's Base or a backend's base path; for the gate's own endpoints, the whole path
	traits   trait
	cap      string // the request field that caps the answer's tokens, as the gate calls it; "" for none
	op       string // the operation name in OpenTelemetry's conventions; "": the label
}

// endpointEntry is an endpoint in the table of all endpoints.
type endpointEntry struct {
	endpointInfo
	dialect *Dialect // nil for the gate's own endpoints
}

// ownEndpoints holds the endpoints that the gate answers itself, in any dialect.
var ownEndpoints = []endpointInfo{
	{endpoint: Unknown, label: "unknown"},
	{endpoint: Usage, label: "usage", method: http.MethodGet, path: "/v1/usage"},
	{endpoint: Key, label: "key", method: http.MethodGet, path: "/v1/key"},
	{endpoint: Health, label: "health", method: http.MethodGet, path: "/healthz"},
	{endpoint: Ready, label: "ready", method: http.MethodGet, path: "/readyz"},
	{endpoint: Probe, label: "probe", method: http.MethodGet, path: "/"},
}

// endpoints is indexed by Endpoint. Endpoints without a constant follow the others.
var endpoints = func() []endpointEntry {
	all := make([]endpointEntry, named)
	for _, info := range ownEndpoints {
		all[info.endpoint].endpointInfo = info
	}
	for _, d := range dialects {
		for _, info := range d.endpoints {
			if info.endpoint == Unknown {
				info.endpoint = Endpoint(len(all))
				all = append(all, endpointEntry{})
			}
			all[info.endpoint] = endpointEntry{info, d}
		}
	}
	return all
}()

func (e Endpoint) info() *endpointEntry {
	if int(e) >= len(endpoints) {
		e = Unknown
	}
	return &endpoints[e]
}

// String returns the endpoint's label in metrics, usage and logs.
func (e Endpoint) String() string { return e.info().label }

// Group returns the value of `endpoints` that allows the endpoint to a key. It is
// empty for endpoints that need no such entry: models, key, usage and the probes.
func (e Endpoint) Group() string { return e.info().group }

// Groups returns the values of `endpoints`, in the order of the docs.
func Groups() []string {
	var groups []string
	for _, info := range endpoints[Chat:] {
		if info.group != "" && !slices.Contains(groups, info.group) {
			groups = append(groups, info.group)
		}
	}
	return groups
}

// Dialect returns the dialect that the endpoint uses. For the gate's own endpoints it
// is the first one.
func (e Endpoint) Dialect() *Dialect {
	if d := e.info().dialect; d != nil {
		return d
	}
	return dialects[0]
}

// Method returns the only HTTP method that the endpoint accepts; "" for Unknown.
func (e Endpoint) Method() string { return e.info().method }

// Allow returns the methods that the endpoint answers, as in the header Allow.
func (e Endpoint) Allow() string {
	if e.Method() == http.MethodGet {
		return "GET, HEAD, OPTIONS"
	}
	return "HEAD, OPTIONS, " + e.Method()
}

// Metered reports whether a request reaches a backend and is charged.
func (e Endpoint) Metered() bool { return e.info().traits&metered != 0 }

// Generates reports whether a request reserves output tokens. Other requests
// cost input tokens only.
func (e Endpoint) Generates() bool { return e.info().traits&generates != 0 }

// Counts reports whether the answer only counts tokens, for which no model is
// used and nothing is charged.
func (e Endpoint) Counts() bool { return e.info().traits&counts != 0 }

// CapName returns the request field that caps the tokens of the answer, in the gate's
// own spelling. It is empty for images and audio, which have none.
func (e Endpoint) CapName() string { return e.info().cap }

// Capped reports whether a request may cap the tokens of its answer.
func (e Endpoint) Capped() bool { return e.info().cap != "" }

// Prose reports whether the answer is generated text, metered as it arrives.
func (e Endpoint) Prose() bool { return e.info().traits&prose != 0 }

// AsksUsage reports whether a stream ends with its usage only if the request sets
// stream_options.include_usage.
func (e Endpoint) AsksUsage() bool { return e.info().traits&asksUsage != 0 }

// Terminated reports whether a complete stream ends with a terminal event. It is
// false for chats, since some servers omit their [DONE].
func (e Endpoint) Terminated() bool { return e.info().traits&terminated != 0 }

// Deployed reports whether the endpoint is below a deployment in Azure's classic API.
func (e Endpoint) Deployed() bool { return e.info().traits&deployed != 0 }

// Operation returns the endpoint's operation name in OpenTelemetry's conventions, or
// the label if they define none.
func (e Endpoint) Operation() string {
	if op := e.info().op; op != "" {
		return op
	}
	return e.String()
}

// Form reports whether the endpoint accepts a multipart form, to be read with
// ScanMultipart. Image edits may also be sent as JSON.
func (e Endpoint) Form() bool { return e.info().traits&form != 0 }

// HasDefaultModel reports whether a request may omit the model.
func (e Endpoint) HasDefaultModel() bool { return e.info().traits&modelless != 0 }

// Streams reports whether the caller may ask for a stream.
func (e Endpoint) Streams() bool { return e.info().traits&streams != 0 }

// Path returns the path relative to a backend's base path, such as
// "/chat/completions". For GetModel and GetResponse the caller appends the id.
func (e Endpoint) Path() string { return e.info().path }
