package wire

import (
	"net/http"
	"time"
)

// Anthropic is the dialect of Anthropic's Messages API.
var Anthropic = &Dialect{
	Name: "anthropic",
	Base: "/v1",
	endpoints: []endpointInfo{
		{Messages, "messages", "messages", http.MethodPost, "/messages", metered | generates | streams | prose | terminated, "max_tokens", "chat"},
		{CountTokens, "count_tokens", "messages", http.MethodPost, "/messages/count_tokens", metered | counts, "", ""},
	},
	Prefix: "/v1/messages",
	Azure:  AzureAPI{Base: "/anthropic/v1"},

	KeyHeader:     "X-Api-Key",
	VersionHeader: "Anthropic-Version",
	Version:       []string{"2023-06-01"},
	HeaderPrefix:  "Anthropic-",
	RequestID:     "Request-Id",
	LimitPrefix:   "Anthropic-Ratelimit-",
	Limits: [limits]LimitHeader{
		LimitRequests:     anthropicLimit("Requests"),
		LimitTokens:       anthropicLimit("Tokens"),
		LimitInputTokens:  anthropicLimit("Input-Tokens"),
		LimitOutputTokens: anthropicLimit("Output-Tokens"),
	},
	FormatReset: func(_ time.Duration, at time.Time) string { return at.Format(time.RFC3339) },

	errorTypes: [kindCount]string{
		KindInternal:          "api_error",
		KindBadRequest:        invalidRequest,
		KindNoKey:             "authentication_error",
		KindInvalidKey:        "authentication_error",
		KindEndpointForbidden: permission,
		KindIPForbidden:       permission,
		KindModelForbidden:    permission,
		KindAdminOnly:         permission,
		KindNotPriced:         permission,
		KindModelNotFound:     "not_found_error",
		KindUnknownURL:        "not_found_error",
		KindMethod:            invalidRequest,
		KindBodyTimeout:       invalidRequest,
		KindTooLarge:          "request_too_large",
		KindMediaType:         invalidRequest,
		KindUpgrade:           invalidRequest,
		KindRateLimited:       rateLimit,
		KindSlowDown:          rateLimit,
		KindQuota:             rateLimit,
		KindUpstream:          "api_error",
		KindUpstreamTimeout:   "timeout_error",
		KindOverloaded:        "overloaded_error",
	},
	appendError: appendAnthropicError,
	appendEvent: func(b []byte, e *Error, errorType string, _ Endpoint, _ int64) []byte {
		b = append(b, "event: error\ndata: "...)
		return append(appendAnthropicError(b, e, errorType, ""), "\n\n"...)
	},
	ErrorStatuses: []int{statusOverloaded},
	upstreamType:  anthropicUpstreamType,

	KeepAlive:        keepAlive("event: ping\ndata: {\"type\":\"ping\"}\n\n"),
	CacheBesideInput: true,

	PageSize:     true,
	appendModel:  appendAnthropicModel,
	appendModels: appendAnthropicModels,
}

func anthropicLimit(what string) LimitHeader {
	prefix := "Anthropic-Ratelimit-" + what
	return LimitHeader{prefix + "-Limit", prefix + "-Remaining", prefix + "-Reset"}
}

// appendAnthropicError appends the JSON envelope. It omits the field request_id if
// there is none, as in a stream.
func appendAnthropicError(b []byte, e *Error, errorType, requestID string) []byte {
	b = append(b, `{"type":"error","error":{"type":`...)
	b = AppendString(b, errorType)
	b = append(b, `,"message":`...)
	b = AppendString(b, e.message())
	if e.Spend {
		b = append(b, `,"details":{"error_code":"enforced_spend_limit_reached"}`...)
	}
	b = append(b, e.members...)
	b = append(b, '}')
	if requestID != "" {
		b = append(b, `,"request_id":`...)
		b = AppendString(b, requestID)
	}
	return append(b, '}')
}

// anthropicUpstreamType returns upstream if Anthropic's SDKs know that type, and
// otherwise the type for status.
func anthropicUpstreamType(status int, upstream string) string {
	switch upstream {
	case invalidRequest, "not_found_error", "request_too_large", rateLimit:
		return upstream
	}
	switch status {
	case http.StatusPaymentRequired:
		return "billing_error"
	case http.StatusForbidden:
		return permission
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return rateLimit
	}
	return invalidRequest
}

func appendAnthropicModel(b []byte, m *Model) []byte {
	b = append(b, `{"type":"model","id":`...)
	b = AppendString(b, m.ID)
	b = append(b, `,"display_name":`...)
	b = AppendString(b, m.ID)
	b = append(b, `,"created_at":"`...)
	b = m.created().AppendFormat(b, time.RFC3339)
	return append(b, `"}`...)
}

func appendAnthropicModels(b []byte, models []Model) []byte {
	var first, last string
	if len(models) > 0 {
		first, last = models[0].ID, models[len(models)-1].ID
	}
	b = append(b, `{"data":`...)
	b = appendList(b, models, appendAnthropicModel)
	b = append(b, `,"has_more":false,"first_id":`...)
	b = appendStringOrNull(b, first)
	b = append(b, `,"last_id":`...)
	b = appendStringOrNull(b, last)
	return append(b, '}')
}
