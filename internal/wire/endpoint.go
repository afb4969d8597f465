package wire

import (
	"net/http"
	"slices"
	"strings"
)

// Endpoint is one of the routes that the gate serves. The zero value is
// Unknown: the gate answers 404 and passes nothing through.
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
	generates                    // its answer costs output tokens
	streams                      // the caller may ask for a stream
	form                         // its body is multipart/form-data
	modelless                    // the API has a default model
	prose                        // its answer is text of a model, which is metered as it comes
	asksUsage                    // a stream ends with its usage if the request asks for it
	terminated                   // a stream ends with an event of its own
)

// endpointInfo is what is fixed about an endpoint.
type endpointInfo struct {
	label  string // in metrics, usage and logs
	group  string // the word that `endpoints` takes
	method string
	path   string // behind the base of a backend; for the gate's own, the whole path
	traits trait
	cap    string // the field by which a request caps its answer; "" for none
	op     string // the operation by OpenTelemetry's conventions; "": the label
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

// byPath holds the endpoints whose path has no id, by the whole path.
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

// Match finds the endpoint of a decoded URL path, and the id where the path
// ends in one: that of a model, which may hold slashes, or of a response,
// which may not. Only the canonical spelling matches: a trailing slash, a
// doubled one, a dot segment or a different case is Unknown, since a backend
// could read such a path as another route than the gate did.
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

// validID reports whether what stands behind a path's prefix may be an id:
// nothing that a server behind the gate would resolve, decode or cut off.
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

// Group returns the word by which `endpoints` allows it to a key. It is empty
// for what needs no such entry: models, key, usage and the probes.
func (e Endpoint) Group() string { return e.info().group }

// Groups returns the words that `endpoints` takes, in the order of the docs.
func Groups() []string {
	var groups []string
	for _, info := range endpoints[Chat:] {
		if info.group != "" && !slices.Contains(groups, info.group) {
			groups = append(groups, info.group)
		}
	}
	return groups
}

// Dialect returns the dialect that the endpoint speaks.
func (e Endpoint) Dialect() *Dialect {
	if int(e) >= len(byEndpoint) {
		e = Unknown
	}
	return byEndpoint[e]
}

// Method returns the only method that the endpoint takes; "" for Unknown.
func (e Endpoint) Method() string { return e.info().method }

// Metered reports whether a request reaches a backend and is charged.
func (e Endpoint) Metered() bool { return e.info().traits&metered != 0 }

// Generates reports whether a request reserves output: the others cost input
// only.
func (e Endpoint) Generates() bool { return e.info().traits&generates != 0 }

// CapName returns the field by which a request caps the tokens of its answer. It is
// empty for pictures and sounds, which have none.
func (e Endpoint) CapName() string { return e.info().cap }

// Capped reports whether a request may cap the tokens of its answer.
func (e Endpoint) Capped() bool { return e.info().cap != "" }

// Prose reports whether the answer is text of a model, which is metered as it comes.
func (e Endpoint) Prose() bool { return e.info().traits&prose != 0 }

// AsksUsage reports whether a stream ends with its usage only if the request asks for
// it (stream_options.include_usage).
func (e Endpoint) AsksUsage() bool { return e.info().traits&asksUsage != 0 }

// Terminated reports whether a whole stream ends with an event of its own. Chats may
// lack their [DONE], which some servers leave out.
func (e Endpoint) Terminated() bool { return e.info().traits&terminated != 0 }

// Operation returns the endpoint's operation by OpenTelemetry's conventions, or the
// label if they have none.
func (e Endpoint) Operation() string {
	if op := e.info().op; op != "" {
		return op
	}
	return e.String()
}

// Form reports whether the endpoint takes a multipart form, to be read with
// ScanMultipart. Image edits may also come as JSON.
func (e Endpoint) Form() bool { return e.info().traits&form != 0 }

// HasDefaultModel reports whether a request may leave the model to the API.
func (e Endpoint) HasDefaultModel() bool { return e.info().traits&modelless != 0 }

// Streams reports whether the caller may ask for a stream.
func (e Endpoint) Streams() bool { return e.info().traits&streams != 0 }

// Path returns the path behind the base of a backend, such as
// "/chat/completions". For GetModel and GetResponse the id is to be appended.
func (e Endpoint) Path() string { return e.info().path }
