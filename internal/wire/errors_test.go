package wire

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// errorTable is the error table of wire.md: status, OpenAI's type and code,
// Anthropic's type.
var errorTable = map[Kind]struct {
	status                  int
	openai, code, anthropic string
}{
	KindInternal:          {500, "server_error", "", "api_error"},
	KindBadRequest:        {400, "invalid_request_error", "", "invalid_request_error"},
	KindNoKey:             {401, "invalid_request_error", "", "authentication_error"},
	KindInvalidKey:        {401, "invalid_request_error", "invalid_api_key", "authentication_error"},
	KindEndpointForbidden: {403, "permission_error", "insufficient_permissions", "permission_error"},
	KindIPForbidden:       {403, "permission_error", "insufficient_permissions", "permission_error"},
	KindModelForbidden:    {403, "permission_error", "model_not_allowed", "permission_error"},
	KindAdminOnly:         {403, "permission_error", "insufficient_permissions", "permission_error"},
	KindNotPriced:         {403, "permission_error", "model_not_priced", "permission_error"},
	KindModelNotFound:     {404, "invalid_request_error", "model_not_found", "not_found_error"},
	KindUnknownURL:        {404, "invalid_request_error", "unknown_url", "not_found_error"},
	KindMethod:            {405, "invalid_request_error", "", "invalid_request_error"},
	KindBodyTimeout:       {408, "invalid_request_error", "", "invalid_request_error"},
	KindTooLarge:          {413, "invalid_request_error", "request_too_large", "request_too_large"},
	KindMediaType:         {415, "invalid_request_error", "", "invalid_request_error"},
	KindUpgrade:           {426, "invalid_request_error", "websocket_not_supported", "invalid_request_error"},
	KindRateLimited:       {429, "requests", "rate_limit_exceeded", "rate_limit_error"},
	KindSlowDown:          {429, "rate_limit_error", "slow_down", "rate_limit_error"},
	KindQuota:             {429, "insufficient_quota", "insufficient_quota", "rate_limit_error"},
	KindUpstream:          {502, "server_error", "upstream_error", "api_error"},
	KindUpstreamTimeout:   {504, "server_error", "upstream_timeout", "timeout_error"},
	KindOverloaded:        {503, "service_unavailable_error", "server_is_overloaded", "overloaded_error"},
}

func TestEachKindHasItsRowInBothDialects(t *testing.T) {
	if len(errorTable) != len(kinds) {
		t.Fatalf("the table has %d rows for %d kinds", len(errorTable), len(kinds))
	}
	for kind, want := range errorTable {
		e := Errorf(kind, "")
		if e.StatusCode() != want.status {
			t.Errorf("%d: status %d, want %d", kind, e.StatusCode(), want.status)
		}
		var openai struct {
			Error map[string]any `json:"error"`
		}
		if err := json.Unmarshal(e.Body(OpenAI, "req_1"), &openai); err != nil {
			t.Fatal(err)
		}
		var code any
		if want.code != "" {
			code = want.code
		}
		_, hasParam := openai.Error["param"]
		if message, _ := openai.Error["message"].(string); len(openai.Error) != 4 || message == "" || !hasParam ||
			openai.Error["type"] != want.openai || openai.Error["code"] != code {
			t.Errorf("%d: got %v, want %+v", kind, openai.Error, want)
		}
		var anthropic struct {
			Type      string         `json:"type"`
			Error     map[string]any `json:"error"`
			RequestID string         `json:"request_id"`
		}
		if err := json.Unmarshal(e.Body(Anthropic, "req_1"), &anthropic); err != nil {
			t.Fatal(err)
		}
		if anthropic.Type != "error" || anthropic.RequestID != "req_1" || len(anthropic.Error) != 2 || anthropic.Error["type"] != want.anthropic {
			t.Errorf("%d: got %+v, want %+v", kind, anthropic, want)
		}
	}
}

func TestErrorBodiesAreExact(t *testing.T) {
	for _, c := range []struct {
		name string
		e    *Error
		d    *Dialect
		want string
	}{
		{"param and quotes", &Error{Kind: KindBadRequest, Param: "model", Message: "a \"b\"\n\x00"}, OpenAI, `{"error":{"message":"a \"b\"\n\u0000","type":"invalid_request_error","param":"model","code":null}}`},
		{"no UTF-8", Errorf(KindBadRequest, "a\xffb"), OpenAI, "{\"error\":{\"message\":\"a\uFFFDb\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}"},
		{"model not found", Errorf(KindModelNotFound, "No %s.", "x"), OpenAI, `{"error":{"message":"No x.","type":"invalid_request_error","param":"model","code":"model_not_found"}}`},
		{"rate on tokens", &Error{Kind: KindRateLimited, Message: "m", Unit: "tokens"}, OpenAI, `{"error":{"message":"m","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`},
		{"the unit is none of Anthropic's", &Error{Kind: KindRateLimited, Message: "m", Unit: "tokens"}, Anthropic, `{"type":"error","error":{"type":"rate_limit_error","message":"m"},"request_id":"req_1"}`},
		{"budget", &Error{Kind: KindQuota, Message: "m", Spend: true}, Anthropic, `{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}`},
		{"overridden", &Error{Kind: KindBadRequest, Message: "m", Status: 422, Type: "t", Code: "c", Param: "p"}, OpenAI, `{"error":{"message":"m","type":"t","param":"p","code":"c"}}`},
		{"no message", &Error{Kind: KindTooLarge}, OpenAI, `{"error":{"message":"The request body is too large.","type":"invalid_request_error","param":null,"code":"request_too_large"}}`},
		{"zero", &Error{}, OpenAI, `{"error":{"message":"The gateway failed to handle the request.","type":"server_error","param":null,"code":null}}`},
	} {
		if got := string(c.e.Body(c.d, "req_1")); got != c.want+"\n" {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestErrorHeaders(t *testing.T) {
	for _, c := range []struct {
		name string
		e    *Error
		d    *Dialect
		want map[string]string
	}{
		{"no key", Errorf(KindNoKey, ""), OpenAI, map[string]string{"Www-Authenticate": "Bearer", "X-Should-Retry": "false"}},
		{"invalid key", Errorf(KindInvalidKey, ""), Anthropic, map[string]string{"Www-Authenticate": "Bearer", "Request-Id": "req_1", "X-Should-Retry": "false"}},
		{"forbidden", Errorf(KindModelForbidden, ""), OpenAI, map[string]string{"X-Should-Retry": "false"}},
		{"method", &Error{Kind: KindMethod, Allow: "POST"}, OpenAI, map[string]string{"Allow": "POST"}},
		{"rate, rounded up", &Error{Kind: KindRateLimited, RetryAfter: 1200100 * time.Microsecond}, OpenAI, map[string]string{"Retry-After": "2", "Retry-After-Ms": "1201"}},
		{"rate, a moment", &Error{Kind: KindRateLimited, RetryAfter: time.Nanosecond}, OpenAI, map[string]string{"Retry-After": "1", "Retry-After-Ms": "1"}},
		{"rate, exact", &Error{Kind: KindRateLimited, RetryAfter: 6 * time.Second}, OpenAI, map[string]string{"Retry-After": "6", "Retry-After-Ms": "6000"}},
		{"rate, for ever", &Error{Kind: KindRateLimited, RetryAfter: math.MaxInt64}, OpenAI, map[string]string{"Retry-After": "9223372037", "Retry-After-Ms": "9223372036855"}},
		{"slow down, no time given", Errorf(KindSlowDown, ""), OpenAI, map[string]string{"Retry-After": "1", "Retry-After-Ms": "1000"}},
		{"upgrade", &Error{Kind: KindUpgrade}, OpenAI, map[string]string{"Upgrade": "HTTP/1.1", "Connection": "Upgrade"}},
		{"overloaded, negative", &Error{Kind: KindOverloaded, RetryAfter: -1}, OpenAI, map[string]string{"Retry-After": "1", "Retry-After-Ms": "1000"}},
		{"too large for the limit", &Error{Kind: KindRateLimited, NoRetry: true}, OpenAI, map[string]string{"X-Should-Retry": "false"}},
		{"quota", &Error{Kind: KindQuota, RetryAfter: time.Hour}, OpenAI, map[string]string{"X-Should-Retry": "false", "Retry-After": "3600", "Retry-After-Ms": "3600000"}},
		{"bad request", Errorf(KindBadRequest, "m"), OpenAI, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c.e.Write(w, c.d, "req_1")
			if w.Code != c.e.StatusCode() || w.Body.String() != string(c.e.Body(c.d, "req_1")) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			want := map[string]string{
				"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
				"X-Request-Id": "req_1", "Content-Length": w.Header().Get("Content-Length"),
			}
			for name, value := range c.want {
				want[name] = value
			}
			for name := range w.Header() {
				if w.Header().Get(name) != want[name] {
					t.Errorf("%s: got %q, want %q", name, w.Header().Get(name), want[name])
				}
				delete(want, name)
			}
			if len(want) > 0 {
				t.Errorf("missing: %v", want)
			}
		})
	}
}

func TestRefusedKeysAreToldApartByNothing(t *testing.T) {
	write := func(e *Error) string {
		w := httptest.NewRecorder()
		e.Write(w, OpenAI, "req_1")
		var b strings.Builder
		if err := w.Result().Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	want := write(Errorf(KindInvalidKey, ""))
	for _, reason := range []string{"expired on %s", "disabled", "unknown hash sha256:00"} {
		if got := write(Errorf(KindInvalidKey, reason, "x")); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestFailuresOfTheGateAndBackendsTellNoCause(t *testing.T) {
	for _, kind := range []Kind{KindInternal, KindUpstream, KindUpstreamTimeout, KindNoKey, KindUnknownURL, Kind(200)} {
		if e := Errorf(kind, "dial tcp 10.0.0.1:%d", 80); strings.Contains(string(e.Body(OpenAI, "")), "10.0.0.1") {
			t.Errorf("%d: %s", kind, e.Body(OpenAI, ""))
		}
	}
	if got := Errorf(Kind(200), "").StatusCode(); got != http.StatusInternalServerError {
		t.Errorf("an unknown kind has status %d", got)
	}
}

func TestEventsThatEndAStream(t *testing.T) {
	e := &Error{Kind: KindOverloaded, Message: "m"}
	openai := "data: {\"error\":{\"message\":\"m\",\"type\":\"service_unavailable_error\",\"param\":null,\"code\":\"server_is_overloaded\"}}\n\n"
	for _, c := range []struct {
		endpoint Endpoint
		want     string
	}{
		{Chat, openai},
		{Completions, openai},
		{ImageGenerations, openai},
		{Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"server_is_overloaded\",\"message\":\"m\",\"param\":null,\"sequence_number\":7,\"error\":{\"message\":\"m\",\"type\":\"service_unavailable_error\",\"param\":null,\"code\":\"server_is_overloaded\"}}\n\n"},
		{Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n"},
	} {
		if got := string(e.Event(c.endpoint, 7)); got != c.want {
			t.Errorf("%v:\n got %q\nwant %q", c.endpoint, got, c.want)
		}
	}
	if got := Errorf(KindBadRequest, "a\n\nb\r").Event(Chat, 0); strings.Count(string(got), "\n") != 2 || strings.Contains(string(got), "\r") {
		t.Errorf("a line break in the message breaks the event: %q", got)
	}
}
