package wire

import (
	"net/http"
	"slices"
	"strings"
)

// Endpoint is an API endpoint that the gate serves. The zero value is Unknown:
// the gate answers 404 and forwards nothing.
type Endpoint uint8

// The endpoints. Those up to Rerank reach a backend and are metered.
const (
	Unknown Endpoint = iota
	Chat
	Completions
	Responses
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
	Probe  // HEAD /, which Claude Code sends before anything else
)

// trait is a property of an endpoint.
type trait uint8

const (
	metered    trait = 1 << iota // a POST that reaches a backend and is charged
	generates                    // the answer costs output tokens
	streams                      // the caller may ask for a stream
	form                         // the body is multipart/form-data
	modelless                    // the API has a default model
	prose                        // the answer is generated text, metered as it arrives
	asksUsage                    // a stream ends with its usage only if the request asks for it
	terminated                   // a stream ends with a terminal event
)

// endpointInfo holds the fixed properties of an endpoint.
type endpointInfo struct {
	label  string // in metrics, usage and logs
	group  string // value of the `endpoints` subdirective
	method string
	path   string // relative to a backend's base URL; for the gate's own endpoints, the whole path
	traits trait
	cap    string // the request field that caps the answer's tokens; "" for none
	op     string // the operation name in OpenTelemetry's conventions; "": the label
}

// endpoints is indexed by Endpoint.
var endpoints = [...]endpointInfo{
	Unknown:          {label: "unknown"},
	Chat:             {"chat", "chat", http.MethodPost, "/chat/completions", metered | generates | streams | prose | asksUsage, "max_tokens", "chat"},
	Completions:      {"completions", "completions", http.MethodPost, "/completions", metered | generates | streams | prose | asksUsage, "max_tokens", "text_completion"},
	Responses:        {"responses", "responses", http.MethodPost, "/responses", metered | generates | streams | prose | terminated, "max_output_tokens", "chat"},
	Embeddings:       {"embeddings", "embeddings", http.MethodPost, "/embeddings", metered, "", ""},
	Messages:         {"messages", "messages", http.MethodPost, "/messages", metered | generates | streams | prose | terminated, "max_tokens", "chat"},
	CountTokens:      {"count_tokens", "messages", http.MethodPost, "/messages/count_tokens", metered, "", ""},
	ImageGenerations: {"image_generations", "images", http.MethodPost, "/images/generations", metered | generates | streams, "", ""},
	ImageEdits:       {"image_edits", "images", http.MethodPost, "/images/edits", metered | generates | streams | form, "", ""},
	Transcriptions:   {"transcriptions", "audio", http.MethodPost, "/audio/transcriptions", metered | generates | streams | form, "", ""},
	Translations:     {"translations", "audio", http.MethodPost, "/audio/translations", metered | generates | form, "", ""},
	Speech:           {"speech", "audio", http.MethodPost, "/audio/speech", metered | generates | streams, "", ""},
	Moderations:      {"moderations", "moderations", http.MethodPost, "/moderations", metered | modelless, "", ""},
	Rerank:           {"rerank", "rerank", http.MethodPost, "/rerank", metered, "", ""},
	ListModels:       {"models", "", http.MethodGet, "/models", 0, "", ""},
	GetModel:         {"model", "", http.MethodGet, "/models/", 0, "", ""},
	GetResponse:      {"get_response", "responses", http.MethodGet, "/responses/", 0, "", ""},
	Usage:            {"usage", "", http.MethodGet, "/usage", 0, "", ""},
	Key:              {"key", "", http.MethodGet, "/key", 0, "", ""},
	Health:           {"health", "", http.MethodGet, "/healthz", 0, "", ""},
	Ready:            {"ready", "", http.MethodGet, "/readyz", 0, "", ""},
	Probe:            {"probe", "", http.MethodHead, "/", 0, "", ""},
}

// byPath holds the endpoints whose path has no id, indexed by the whole path.
var byPath = func() map[string]Endpoint {
	m := make(map[string]Endpoint, len(endpoints))
	for e := Chat; int(e) < len(endpoints); e++ {
		switch e {
		case GetModel, GetResponse:
		case Health, Ready, Probe:
			m[endpoints[e].path] = e
		default:
			m["/v1"+endpoints[e].path] = e
		}
	}
	return m
}()

// Match returns the endpoint of path, a decoded URL path, and the id that ends
// it, if any: that of a model, which may contain slashes, or of a response,
// which may not. Only the canonical spelling matches: a path with a trailing or
// doubled slash, a dot segment or a different case is Unknown, since a backend
// could route it differently than the gate.
func Match(path string) (e Endpoint, id string) {
	if e, ok := byPath[path]; ok {
		return e, ""
	}
	if id, ok := strings.CutPrefix(path, "/v1/models/"); ok && validID(id) {
		return GetModel, id
	}
	if id, ok := strings.CutPrefix(path, "/v1/responses/"); ok && validID(id) && !strings.Contains(id, "/") {
		return GetResponse, id
	}
	return Unknown, ""
}

// validID reports whether id is a valid id of a model or response: without
// anything that a server behind the gate would resolve, decode or truncate.
func validID(id string) bool {
	if id == "" || len(id) > MaxModelBytes || strings.ContainsAny(id, "\\?#%") || HasControl(id) {
		return false
	}
	for segment := range strings.SplitSeq(id, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

func (e Endpoint) info() *endpointInfo {
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

// Dialect returns the dialect that the endpoint uses.
func (e Endpoint) Dialect() *Dialect {
	if int(e) >= len(byEndpoint) {
		e = Unknown
	}
	return byEndpoint[e]
}

// Method returns the only HTTP method that the endpoint accepts; "" for Unknown.
func (e Endpoint) Method() string { return e.info().method }

// Metered reports whether a request reaches a backend and is charged.
func (e Endpoint) Metered() bool { return e.info().traits&metered != 0 }

// Generates reports whether a request reserves output tokens. Other requests
// cost input tokens only.
func (e Endpoint) Generates() bool { return e.info().traits&generates != 0 }

// CapName returns the request field that caps the tokens of the answer. It is empty
// for images and audio, which have none.
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

// Path returns the path relative to a backend's base URL, such as
// "/chat/completions". For GetModel and GetResponse the caller appends the id.
func (e Endpoint) Path() string { return e.info().path }
