package backends

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestForwardHeader(t *testing.T) {
	in := header(
		"Authorization: Bearer caller", "X-Api-Key: caller", "Api-Key: caller", "X-Goog-Api-Key: caller", "Cookie: a=b",
		"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Original-Url: /admin", "Forwarded: for=1", "X-Real-Ip: 1.2.3.4",
		"Openai-Organization: org-caller", "Openai-Project: proj-caller", "Anthropic-Workspace-Id: w", "Host: evil",
		"Upgrade: h2c", "Http2-Settings: AAA", "Te: trailers", "Expect: 100-continue", "Content-Encoding: gzip", "Accept-Encoding: br", "Range: bytes=0-",
		"X-Custom: 1", "X-Other: 2", "X-Named: 3", "Connection: Upgrade, HTTP2-Settings, x-named, content-type",

		"Content-Type: application/json", "Accept: text/event-stream", "User-Agent: ua", "Traceparent: 00-1", "Tracestate: a=1",
		"Anthropic-Version: 2023-06-01", "Anthropic-Beta: b", "Openai-Beta: assistants=v2", "Idempotency-Key: k",
		"X-Stainless-Lang: go", "Http-Referer: https://a.example", "X-Title: app",
	)
	always := []string{
		"Accept", "Anthropic-Beta", "Anthropic-Version", "Content-Type", "Http-Referer", "Idempotency-Key", "Openai-Beta",
		"Traceparent", "Tracestate", "User-Agent", "X-Stainless-Lang", "X-Title",
	}
	for _, c := range []struct {
		name     string
		endpoint wire.Endpoint
		pass     []string
		want     []string
	}{
		{"the list", wire.Chat, nil, always},
		{"a GET has no content", wire.GetResponse, nil, slices.DeleteFunc(slices.Clone(always), func(s string) bool { return s == "Content-Type" })},
		{"what pass names", wire.Chat, []string{"x-custom", "openai-organization", "X-Named"}, append([]string{"X-Custom", "Openai-Organization"}, always...)},
		{"never a credential, cookie or framing", wire.Chat, []string{"authorization", "X-API-Key", "api-key", "x-goog-api-key", "cookie", "te", "upgrade", "connection", "host", "content-encoding", "range"}, always},
	} {
		got := slices.Sorted(maps.Keys(ForwardHeader(in, c.endpoint, c.pass)))
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %v\nwant %v", c.name, got, c.want)
		}
	}
	if got := in.Get("Authorization"); got != "Bearer caller" {
		t.Errorf("the caller's header was changed: %q", got)
	}
}

func TestPassHeadersAreChecked(t *testing.T) {
	for _, name := range []string{"Authorization", "x-api-key", "Cookie", "set-cookie", "location", "Content-Length", "bad name", "", "Host"} {
		if checkPassHeaders([]string{"X-Fine", name}) == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if err := checkPassHeaders([]string{"X-Forwarded-For", "OpenAI-Organization"}); err != nil {
		t.Error(err)
	}
}

func header(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}
