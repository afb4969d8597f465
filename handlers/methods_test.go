package handlers

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/metrics"
)

func TestWhatClientsSendFirstNeedsNoKey(t *testing.T) {
	m, err := metrics.For(prometheus.NewRegistry(), false)
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{Metrics: m, Logger: zap.NewNop()}
	for _, c := range []struct {
		method, path string
		status       int
		allow, body  string
	}{
		{"GET", "/", 200, "", "This is pine-gate"},
		{"GET", "/v1", 200, "", "POST /v1/chat/completions"},
		{"GET", "/v1/", 200, "", "POST /v1/messages"},
		{"HEAD", "/", 200, "", ""},
		{"HEAD", "/v1", 200, "", ""},
		{"HEAD", "/v1/messages", 200, "HEAD, OPTIONS, POST", ""},
		{"HEAD", "/chat/completions", 200, "HEAD, OPTIONS, POST", ""},
		{"OPTIONS", "/", 204, "GET, HEAD, OPTIONS", ""},
		{"OPTIONS", "/v1/chat/completions", 204, "HEAD, OPTIONS, POST", ""},
		{"OPTIONS", "/v1/responses/resp_1", 204, "GET, HEAD, OPTIONS", ""},
		{"OPTIONS", "/v1/models", 204, "GET, HEAD, OPTIONS", ""},
		{"OPTIONS", "/v1/usage", 204, "GET, HEAD, OPTIONS", ""},

		{"POST", "/", 405, "GET, HEAD, OPTIONS", "This gateway serves GET /, not POST."},
		{"GET", "/v1/chat/completions", 405, "HEAD, OPTIONS, POST", "This gateway serves POST /v1/chat/completions, not GET."},
		{"DELETE", "/v1/responses/resp_1", 405, "GET, HEAD, OPTIONS", "This gateway serves GET /v1/responses/{id}, not DELETE."},
		{"GET", "/v1/responses/compact", 405, "HEAD, OPTIONS, POST", "This gateway serves POST /v1/responses/compact, not GET."},
		{"GET", "/v1/messages", 405, "HEAD, OPTIONS, POST", `{"type":"error","error":{"type":"invalid_request_error","message":"This gateway serves POST /v1/messages, not GET."}`},
		{"GET", "/v1/files", 404, "", "GET /v1/files is not served here."},
		{"GET", "/api/tags", 404, "", "begin with /v1"},
		{"HEAD", "/v1/files", 404, "", ""},
		{"OPTIONS", "/v1/files", 404, "", ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			g.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
			body := w.Body.String()
			if w.Code != c.status || w.Header().Get("Allow") != c.allow || !strings.Contains(body, c.body) {
				t.Errorf("got %d, Allow %q: %s", w.Code, w.Header().Get("Allow"), body)
			}
			if c.status < 300 && c.body == "" && body != "" {
				t.Errorf("got the body %s", body)
			}
		})
	}
}
