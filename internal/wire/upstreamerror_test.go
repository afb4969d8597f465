package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUpstreamErrorsAreNormalised(t *testing.T) {
	const refused = "The model server refused the request."
	for _, c := range []struct {
		name    string
		dialect *Dialect
		status  int
		body    string
		code    int
		want    string // the envelope's inner object
	}{
		{"OpenAI's", OpenAI, 400, `{"error":{"message":"m","type":"invalid_request_error","param":"messages","code":"bad_value"}}`, 400,
			`{"message":"m","type":"invalid_request_error","param":"messages","code":"bad_value"}`},
		{"numeric code", OpenAI, 404, `{"error":{"message":"m","code":404}}`, 404, `{"message":"m","type":"invalid_request_error","param":null,"code":null}`},
		{"vLLM's", OpenAI, 400, `{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}`, 400, `{"message":"m","type":"invalid_request_error","param":null,"code":null}`},
		{"Ollama's", OpenAI, 404, `{"error":"model not found"}`, 404, `{"message":"model not found","type":"invalid_request_error","param":null,"code":null}`},
		{"FastAPI's text", OpenAI, 422, `{"detail":"m"}`, 422, `{"message":"m","type":"invalid_request_error","param":null,"code":null}`},
		{"FastAPI's list", OpenAI, 422, `{"detail":[{"loc":["body"],"msg":"m"}]}`, 422, `{"message":"m","type":"invalid_request_error","param":null,"code":null}`},
		{"a list", OpenAI, 400, `[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]`, 400, `{"message":"m","type":"invalid_request_error","param":null,"code":null}`},
		{"Mistral's", OpenAI, 422, `{"object":"error","message":{"detail":[{"loc":["body","top_p"],"msg":"m"}]}}`, 422, `{"message":"m","type":"invalid_request_error","param":"top_p","code":null}`},
		{"several", OpenAI, 422, `{"detail":[{"loc":["body","messages",0,"role"],"msg":"a"},{"loc":["body","n"],"msg":"b"}]}`, 422, `{"message":"messages.0.role: a; n: b","type":"invalid_request_error","param":"messages.0.role","code":null}`},
		{"OpenRouter's", OpenAI, 400, `{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"bad tool"}}}`, 400, `{"message":"Provider returned error: bad tool","type":"invalid_request_error","param":null,"code":null}`},
		{"Azure's filter", OpenAI, 400, `{"error":{"message":"m","code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}`, 400,
			`{"message":"m","type":"invalid_request_error","param":null,"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}`},
		{"OpenRouter's moderation", OpenAI, 403, `{"error":{"message":"m","metadata":{"reasons":["violence"],"flagged_input":"x","provider_name":"p","model_slug":"s"}}}`, 403,
			`{"message":"m","type":"invalid_request_error","param":null,"code":null,"metadata":{"flagged_input":"x","provider_name":"p","reasons":["violence"]}}`},
		{"Anthropic's details", Anthropic, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"m","details":{"error_code":"e","n":12345678901234567890}}}`, 400,
			`{"type":"invalid_request_error","message":"m","details":{"error_code":"e","n":12345678901234567890}}`},
		{"members without an envelope", OpenAI, 400, `{"message":"m","error_code":"E1","reasons":["r"]}`, 400, `{"message":"m","type":"invalid_request_error","param":null,"code":null,"error_code":"E1","reasons":["r"]}`},
		{"a member with a secret", OpenAI, 400, `{"error":{"message":"m","details":[{"k":"sk\u002dcanary"}],"reasons":["r"]}}`, 400, `{"message":"m","type":"invalid_request_error","param":null,"code":null,"reasons":["r"]}`},
		{"a member that is too long", OpenAI, 400, `{"error":{"message":"m","details":"` + strings.Repeat("x", maxUpstreamMembers) + `","reasons":["r"]}}`, 400, `{"message":"m","type":"invalid_request_error","param":null,"code":null,"reasons":["r"]}`},
		{"rate", OpenAI, 429, `{"error":{"message":"m","type":"tokens","code":"rate_limit_exceeded"}}`, 429, `{"message":"m","type":"tokens","param":null,"code":"rate_limit_exceeded"}`},
		{"too large", OpenAI, 413, `{"error":{"message":"m"}}`, 413, `{"message":"m","type":"invalid_request_error","param":null,"code":"request_too_large"}`},
		{"conflict", OpenAI, 409, `{"error":{"message":"m"}}`, 409, `{"message":"m","type":"invalid_request_error","param":null,"code":null}`},
		{"HTML", OpenAI, 400, `<html>10.0.0.1</html>`, 400, `{"message":"` + refused + `","type":"invalid_request_error","param":null,"code":null}`},
		{"empty", OpenAI, 400, ``, 400, `{"message":"` + refused + `","type":"invalid_request_error","param":null,"code":null}`},
		{"an array", OpenAI, 400, `[1]`, 400, `{"message":"` + refused + `","type":"invalid_request_error","param":null,"code":null}`},
		{"fields of other types", OpenAI, 400, `{"error":{"message":{"a":1},"type":3,"param":[],"code":{}}}`, 400, `{"message":"` + refused + `","type":"invalid_request_error","param":null,"code":null}`},
		{"control characters", OpenAI, 400, `{"error":{"message":"a\u001b[31mb\nc","param":"x\ny"}}`, 400, `{"message":"a [31mb\nc","type":"invalid_request_error","param":"x\ny","code":null}`},
		{"Anthropic's", Anthropic, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"m"}}`, 400, `{"type":"invalid_request_error","message":"m"}`},
		{"Anthropic's not found", Anthropic, 404, `{"type":"error","error":{"type":"not_found_error","message":"m"}}`, 404, `{"type":"not_found_error","message":"m"}`},
		{"a type that Anthropic does not have", Anthropic, 404, `{"error":{"type":"odd_error","message":"m"}}`, 404, `{"type":"not_found_error","message":"m"}`},
		{"no type within Anthropic's envelope", OpenAI, 400, `{"type":"error","error":{"message":"m"}}`, 400, `{"message":"m","type":"invalid_request_error","param":null,"code":null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := UpstreamError(c.dialect, c.status, []byte(c.body), "", "sk-canary")
			if e.StatusCode() != c.code {
				t.Errorf("status %d, want %d", e.StatusCode(), c.code)
			}
			var got struct {
				Error json.RawMessage `json:"error"`
			}
			if err := json.Unmarshal(e.Body(c.dialect, ""), &got); err != nil {
				t.Fatal(err)
			}
			if string(got.Error) != c.want {
				t.Errorf("\n got %s\nwant %s", got.Error, c.want)
			}
		})
	}
}

func TestUpstreamErrorsThatAreNotTheCallersBusinessAreGeneric(t *testing.T) {
	body := `{"error":{"message":"canary at 10.0.0.1","type":"canary","param":"canary","code":"canary"}}`
	for _, status := range []int{0, 300, 401, 407, 999} {
		for _, d := range []*Dialect{OpenAI, Anthropic} {
			e := UpstreamError(d, status, []byte(body))
			if e.StatusCode() != 502 || strings.Contains(string(e.Body(d, "")), "canary") {
				t.Errorf("%d: got %d %s", status, e.StatusCode(), e.Body(d, ""))
			}
		}
	}
}

func TestUpstreamErrorsKeepTheirStatusAndMessage(t *testing.T) {
	for status, want := range map[int]int{
		400: 400, 402: 402, 403: 403, 404: 404, 405: 405, 408: 408, 409: 409, 410: 410, 413: 413, 415: 415, 418: 418, 422: 422, 425: 425, 429: 429,
		451: 451, 498: 498, 500: 500, 501: 502, 502: 502, 503: 503, 504: 504, 520: 502, 524: 504, 529: 503,
	} {
		e := UpstreamError(OpenAI, status, []byte(`{"error":{"message":"what to do"}}`))
		if e.StatusCode() != want || strings.Contains(string(e.Body(OpenAI, "")), "what to do") != (status <= 500) || strings.Contains(e.Error(), "what to do") {
			t.Errorf("%d: got %d %s", status, e.StatusCode(), e.Body(OpenAI, ""))
		}
	}
	if e := UpstreamError(Anthropic, 529, nil); e.StatusCode() != 529 || !strings.Contains(string(e.Body(Anthropic, "")), "overloaded_error") {
		t.Errorf("529: got %d %s", e.StatusCode(), e.Body(Anthropic, ""))
	}
}

func TestUpstreamErrorsThatHoldASecretAreGeneric(t *testing.T) {
	for _, body := range []string{
		`{"error":{"message":"bad key sk-canary"}}`,
		`{"error":{"message":"m","code":"sk-canary"}}`,
		`{"error":{"message":"m","param":"sk-canary"}}`,
		`{"error":{"message":"bad key sk\u002dcanary"}}`,
		`<html>sk-canary`,
		`{"elsewhere":"sk-canary","error":{"message":"m"}}`,
	} {
		e := UpstreamError(OpenAI, 400, []byte(body), "other", "sk-canary")
		if e.Kind != KindUpstream || strings.Contains(string(e.Body(OpenAI, "")), "canary") {
			t.Errorf("%s: got %s", body, e.Body(OpenAI, ""))
		}
	}
}

func TestUpstreamQuotaIsNotRetried(t *testing.T) {
	e := UpstreamError(OpenAI, 429, []byte(`{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}`))
	if e.Kind != KindQuota || e.StatusCode() != 429 {
		t.Errorf("got kind %d, status %d", e.Kind, e.StatusCode())
	}
}

func TestLongUpstreamMessagesAreCutBetweenCharacters(t *testing.T) {
	e := UpstreamError(OpenAI, 400, []byte(`{"error":{"message":"a`+strings.Repeat("é", 5000)+`"}}`))
	if len(e.Message) != maxUpstreamMessage-1 || !utf8.ValidString(e.Message) {
		t.Errorf("%d bytes", len(e.Message))
	}
}

func TestLogsDoNotQuoteUpstreamMessages(t *testing.T) {
	e := UpstreamError(OpenAI, 400, []byte(`{"error":{"message":"you said: canary"}}`))
	if strings.Contains(e.Error(), "canary") || !strings.HasPrefix(e.Error(), "400") {
		t.Errorf("got %q", e.Error())
	}
	if got := Errorf(KindBadRequest, "m").Error(); got != "400: m" {
		t.Errorf("got %q", got)
	}
}
