package wire

import (
	"net/http"
	"strconv"
	"time"
)

// OpenAI is the dialect of OpenAI, which vLLM, Ollama and most others use.
var OpenAI = &Dialect{
	Name: "openai",
	Base: "/v1",
	endpoints: []endpointInfo{
		{Chat, "chat", "chat", http.MethodPost, "/chat/completions", metered | generates | streams | prose | asksUsage | deployed, "max_tokens", "chat"},
		{Completions, "completions", "completions", http.MethodPost, "/completions", metered | generates | streams | prose | asksUsage | deployed, "max_tokens", "text_completion"},
		{Responses, "responses", "responses", http.MethodPost, "/responses", metered | generates | streams | prose | terminated, "max_output_tokens", "chat"},
		{Compact, "compact", "responses", http.MethodPost, "/responses/compact", metered | generates | prose, "", "chat"},
		{InputTokens, "input_tokens", "responses", http.MethodPost, "/responses/input_tokens", metered | counts, "", ""},
		{Embeddings, "embeddings", "embeddings", http.MethodPost, "/embeddings", metered | deployed, "", ""},
		{ImageGenerations, "image_generations", "images", http.MethodPost, "/images/generations", metered | generates | streams | deployed, "", ""},
		{ImageEdits, "image_edits", "images", http.MethodPost, "/images/edits", metered | generates | streams | form | deployed, "", ""},
		{Transcriptions, "transcriptions", "audio", http.MethodPost, "/audio/transcriptions", metered | generates | streams | form | deployed, "", ""},
		{Translations, "translations", "audio", http.MethodPost, "/audio/translations", metered | generates | form | deployed, "", ""},
		{Speech, "speech", "audio", http.MethodPost, "/audio/speech", metered | generates | streams | deployed, "", ""},
		{Moderations, "moderations", "moderations", http.MethodPost, "/moderations", metered | modelless, "", ""},
		{Rerank, "rerank", "rerank", http.MethodPost, "/rerank", metered, "", ""},
		{ListModels, "models", "", http.MethodGet, "/models", 0, "", ""},
		{GetModel, "model", "", http.MethodGet, "/models/", 0, "", ""},
		{GetResponse, "get_response", "responses", http.MethodGet, "/responses/", 0, "", ""},
	},
	Azure:        AzureAPI{Base: "/openai/v1", Classic: "/openai", KeyHeader: "Api-Key"},
	KeyHeader:    "Authorization",
	HeaderPrefix: "Openai-",
	LimitPrefix:  "X-Ratelimit-",
	Limits: [limits]LimitHeader{
		LimitRequests: {"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		LimitTokens:   {"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
	},
	FormatReset: func(left time.Duration, _ time.Time) string { return formatReset(left) },

	errorTypes: [kindCount]string{
		KindInternal:          "server_error",
		KindBadRequest:        invalidRequest,
		KindNoKey:             invalidRequest,
		KindInvalidKey:        invalidRequest,
		KindEndpointForbidden: permission,
		KindIPForbidden:       permission,
		KindModelForbidden:    permission,
		KindAdminOnly:         permission,
		KindNotPriced:         permission,
		KindModelNotFound:     invalidRequest,
		KindUnknownURL:        invalidRequest,
		KindMethod:            invalidRequest,
		KindBodyTimeout:       invalidRequest,
		KindTooLarge:          invalidRequest,
		KindMediaType:         invalidRequest,
		KindUpgrade:           invalidRequest,
		KindRateLimited:       "requests",
		KindSlowDown:          rateLimit,
		KindQuota:             insufficientQuota,
		KindUpstream:          "server_error",
		KindUpstreamTimeout:   "server_error",
		KindOverloaded:        "service_unavailable_error",
	},
	appendError: appendOpenAIError,
	appendEvent: appendOpenAIEvent,

	// The comment ends in a single line break: openai-go parses a comment followed
	// by a blank line as an empty event.
	KeepAlive: keepAlive(": ping\n"),

	appendModel:  appendOpenAIModel,
	appendModels: appendOpenAIModels,
}

// appendOpenAIError appends the JSON envelope. All four fields are always present,
// since clients read them without checking.
func appendOpenAIError(b []byte, e *Error, errorType, _ string) []byte {
	if e.Type == "" && e.Kind == KindRateLimited && e.Unit != "" {
		errorType = e.Unit
	}
	b = append(b, `{"error":{"message":`...)
	b = AppendString(b, e.message())
	b = append(b, `,"type":`...)
	b = AppendString(b, errorType)
	b = append(b, `,"param":`...)
	b = appendStringOrNull(b, e.param())
	b = append(b, `,"code":`...)
	b = appendStringOrNull(b, e.code())
	b = append(b, e.members...)
	return append(b, "}}"...)
}

// appendOpenAIEvent appends the event that ends a stream with an error. Clients of
// the Responses API expect a sequence number in every event.
func appendOpenAIEvent(b []byte, e *Error, errorType string, ep Endpoint, sequence int64) []byte {
	if ep != Responses {
		b = append(b, "data: "...)
		b = appendOpenAIError(b, e, errorType, "")
		return append(b, "\n\n"...)
	}
	b = append(b, `event: error`+"\n"+`data: {"type":"error","code":`...)
	b = appendStringOrNull(b, e.code())
	b = append(b, `,"message":`...)
	b = AppendString(b, e.message())
	b = append(b, `,"param":`...)
	b = appendStringOrNull(b, e.param())
	b = append(b, `,"sequence_number":`...)
	b = strconv.AppendInt(b, sequence, 10)
	// Some SDKs see only this form, and others only the one above.
	b = append(b, ',')
	b = append(b, appendOpenAIError(nil, e, errorType, "")[1:]...)
	return append(b, "\n\n"...)
}

func appendOpenAIModel(b []byte, m *Model) []byte {
	b = append(b, `{"id":`...)
	b = AppendString(b, m.ID)
	b = append(b, `,"object":"model","created":`...)
	b = strconv.AppendInt(b, m.created().Unix(), 10)
	b = append(b, `,"owned_by":`...)
	b = AppendString(b, m.OwnedBy)
	return append(b, '}')
}

func appendOpenAIModels(b []byte, models []Model) []byte {
	b = append(b, `{"object":"list","data":`...)
	b = appendList(b, models, appendOpenAIModel)
	return append(b, '}')
}

// formatReset returns a duration in OpenAI's format: `12ms`, `1s`, `6m0s`. It rounds
// up, to milliseconds below a second and to seconds above.
func formatReset(d time.Duration) string {
	unit := time.Second
	if d < time.Second {
		unit = time.Millisecond
	}
	if rest := d % unit; rest > 0 {
		d += unit - rest
	}
	return d.String()
}
