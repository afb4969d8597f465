package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// backend is a scripted model server that keeps what it was sent.
type backend struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
}

// received is a request as a backend saw it.
type received struct {
	method, path, query string
	header              http.Header
	host                string
	body                string
}

// newBackend starts a model server that answers with the handler. It does not
// list its models, and questions for them are not kept: the gate asks by itself.
func newBackend(t *testing.T, handler http.HandlerFunc) *backend {
	t.Helper()
	b := new(backend)
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/models") {
			http.NotFound(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body) // a broken one is kept as far as it came
		b.mu.Lock()
		b.requests = append(b.requests, received{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), r.Host, string(body)})
		b.mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(func() {
		b.CloseClientConnections()
		b.Close()
	})
	return b
}

// seen returns the requests that have come.
func (b *backend) seen() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]received(nil), b.requests...)
}

// last returns the newest request.
func (b *backend) last(t *testing.T) received {
	t.Helper()
	all := b.seen()
	if len(all) == 0 {
		t.Fatal("the backend was sent nothing")
	}
	return all[len(all)-1]
}

// chatAnswer is a whole answer to a chat, with its usage.
func chatAnswer(text string, input, output int) string {
	return fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
		text, input, output, input+output)
}

// answers returns a handler that gives one JSON answer.
func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// chunk is one event of a chat's stream.
func chunk(text string) string {
	return fmt.Sprintf("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}],\"usage\":null}\n\n", text)
}

// usageChunk is the last but one event of a chat's stream that was asked for
// its usage.
func usageChunk(input, output int) string {
	return fmt.Sprintf("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n", input, output, input+output)
}

const done = "data: [DONE]\n\n"

// streams returns a handler that sends events, each flushed by itself; between
// is called before each but the first.
func streams(between func(r *http.Request), events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i, event := range events {
			if i > 0 && between != nil {
				between(r)
			}
			if _, err := io.WriteString(w, event); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
}

// block is the inside of a gate with the usual keys and one backend.
func block(b *backend, extra string) string {
	return fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key bob {env.OTHER_KEY}
		dial_allow loopback
		backend mock %s {
			api_key {env.BACKEND_KEY}
		}
		%s`, b.URL, extra)
}

// eachWay runs a test over both ways to a backend: plain ones are asked without
// reverse_proxy. way makes the one that is tried out of the text between the
// braces of `pinegate`.
func eachWay(t *testing.T, test func(t *testing.T, way func(block string) string)) {
	t.Helper()
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		test(t, func(block string) string { return block })
	})
	t.Run("through reverse_proxy", func(t *testing.T) {
		t.Parallel()
		test(t, func(block string) string {
			const inBackend = "api_key {env.BACKEND_KEY}"
			return strings.ReplaceAll(block, inBackend, inBackend+"\n"+onlyProxied)
		})
	})
}

// onlyProxied is a word of reverse_proxy that changes nothing of what it does.
const onlyProxied = "lb_policy random"
