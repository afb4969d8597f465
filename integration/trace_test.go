package integration

import (
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver takes traces as a collector does: OTLP over HTTP and TLS.
type receiver struct {
	mu    sync.Mutex
	spans []*trace.Span
	raw   strings.Builder
}

// newReceiver starts one, and sets its address in the environment of the gates that start after it.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		export := new(collector.ExportTraceServiceRequest)
		if err == nil {
			err = proto.Unmarshal(body, export)
		}
		if err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.raw.Write(body)
		for _, resource := range export.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					if attributesOf(span)["gen_ai.operation.name"] != "" { // else it is a probe's
						r.spans = append(r.spans, span)
					}
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_EXPORTER_OTLP_CERTIFICATE": authority, "OTEL_BSP_SCHEDULE_DELAY": "50",
	} {
		t.Setenv(name, value)
	}
	return r
}

// wait waits for so many spans of metered requests and returns them.
func (r *receiver) wait(t *testing.T, n int) []*trace.Span {
	t.Helper()
	var spans []*trace.Span
	eventually(t, fmt.Sprintf("%d spans came", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		spans = append(spans[:0], r.spans...)
		return len(spans) >= n
	})
	return spans
}

func attributesOf(span *trace.Span) map[string]string {
	all := make(map[string]string)
	for _, a := range span.Attributes {
		if all[a.Key] = a.Value.GetStringValue(); all[a.Key] == "" {
			all[a.Key] = fmt.Sprint(a.Value.GetIntValue())
		}
	}
	return all
}

// traced is a Caddyfile with Caddy's tracing in front of the gate.
func traced(g *gate, global, block string) string {
	return strings.Replace(g.caddyfile(global, block), "\tlog\n\tpinegate {\n", "\tlog\n\ttracing {\n\t\tspan gate\n\t}\n\tpinegate {\n", 1)
}

func TestTracesTellWhatARequestUsedAndEachAttempt(t *testing.T) {
	r := newReceiver(t)
	busy := newBackend(t, answers(503, `{"error":{"message":"SECRET-OF-THE-BACKEND"}}`))
	good := newBackend(t, answers(200, chatAnswer("ANSWER-TEXT", 11, 7)))
	g := newGate(t)
	g.start(traced(g, "", fmt.Sprintf(`
		key alice {env.CALLER_KEY}
		dial_allow loopback
		backend first %s {
			api_key {env.BACKEND_KEY}
		}
		backend second %s {
			api_key {env.BACKEND_KEY}
			rename public m-1
		}`, busy.URL, good.URL)))
	if a := g.chat(callerKey, "public", "PROMPT-TEXT"); a.status != 200 {
		t.Fatal(a.status, a.body)
	}

	spans := r.wait(t, 3)
	if len(spans) != 3 {
		t.Fatalf("%d spans, expected Caddy's and one for each attempt", len(spans))
	}
	byName := make(map[string]*trace.Span)
	for _, span := range spans {
		byName[span.Name] = span
	}
	whole, first, second := byName["gate"], byName["chat first"], byName["chat second"]
	if whole == nil || first == nil || second == nil {
		t.Fatalf("spans %v", byName)
	}
	for span, want := range map[*trace.Span]map[string]string{
		whole: {
			"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "pinegate.backend": "second",
			"gen_ai.request.model": "public", "gen_ai.response.model": "m-1",
			"gen_ai.usage.input_tokens": "11", "gen_ai.usage.output_tokens": "7",
		},
		first: {
			"pinegate.backend": "first", "pinegate.attempt": "1", "gen_ai.request.model": "public",
			"http.response.status_code": "503", "error.type": "upstream_error",
		},
		second: {
			"pinegate.backend": "second", "pinegate.attempt": "2", "gen_ai.request.model": "m-1",
			"http.response.status_code": "200",
		},
	} {
		got := attributesOf(span)
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %q, expected %q", span.Name, name, got[name], value)
			}
		}
		if span != whole && string(span.ParentSpanId) != string(whole.SpanId) {
			t.Errorf("%s does not stand below Caddy's span", span.Name)
		}
	}
	if first.Status.GetCode() != trace.Status_STATUS_CODE_ERROR || second.Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
		t.Errorf("status %v and %v", first.Status, second.Status)
	}
	// The backend continues the trace from the attempt.
	parent := good.last(t).header.Get("Traceparent")
	if !strings.Contains(parent, hex.EncodeToString(second.TraceId)+"-"+hex.EncodeToString(second.SpanId)) {
		t.Errorf("the backend got traceparent %q", parent)
	}
	for _, secret := range []string{"PROMPT-TEXT", "ANSWER-TEXT", "SECRET-OF-THE-BACKEND", callerKey, backendKey} {
		if strings.Contains(r.raw.String(), secret) {
			t.Errorf("the traces have %q", secret)
		}
	}
}

func TestHiddenModelsStandInNoTrace(t *testing.T) {
	r := newReceiver(t)
	b := newBackend(t, answers(200, chatAnswer("x", 1, 1)))
	g := newGate(t)
	g.start(traced(g, "pinegate {\nmetrics {\nhide_models\n}\n}", block(b, "")))
	if a := g.chat(callerKey, "HIDDEN-MODEL", "x"); a.status != 200 {
		t.Fatal(a.status, a.body)
	}
	r.wait(t, 2)
	for _, hidden := range []string{"HIDDEN-MODEL", "m-1"} {
		if strings.Contains(r.raw.String(), hidden) {
			t.Errorf("the traces have the model %s", hidden)
		}
	}
}
