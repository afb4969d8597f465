package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// modelServer answers chats by its name, and questions for its models.
type modelServer struct {
	*httptest.Server
	list  atomic.Pointer[string] // nil: it fails
	asked atomic.Int64
}

func newModelServer(t *testing.T, name, list string) *modelServer {
	t.Helper()
	s := new(modelServer)
	s.list.Store(&list)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodGet {
			_, _ = io.WriteString(w, chatAnswer(name, 3, 2))
			return
		}
		s.asked.Add(1)
		if r.URL.Path != "/v1/models" || r.Header.Get("Authorization") != "Bearer "+backendKey {
			t.Errorf("asked for %s with %v", r.URL.Path, r.Header)
		}
		list := s.list.Load()
		if list == nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, *list)
	}))
	t.Cleanup(s.Close)
	return s
}

// models lists the ids of the models that a key sees.
func (g *gate) models(key string) string {
	g.t.Helper()
	var list struct{ Data []struct{ ID string } }
	a := g.do("GET", "/v1/models", key, "")
	if err := json.Unmarshal([]byte(a.body), &list); a.status != 200 || err != nil {
		g.t.Fatalf("models: %d %s", a.status, a.body)
	}
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.ID)
	}
	return strings.Join(ids, " ")
}

func TestModelsAreDiscovered(t *testing.T) {
	t.Parallel()
	ollama := newModelServer(t, "ollama", `{"object":"list","data":[{"id":"llama3:latest","object":"model","created":1700000000,"owned_by":"library"},{"id":"shared"}]}`)
	vllm := newModelServer(t, "vllm", `{"object":"list","data":[{"id":"org/qwen-3","object":"model"},{"id":"shared"}]}`)
	unasked := newModelServer(t, "unasked", `{"data":[{"id":"hidden"}]}`)
	config := func(extra string) string {
		return fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key bob {env.OTHER_KEY} {
			models org/*
		}
		dial_allow loopback
		backend ollama %s {
			api_key {env.BACKEND_KEY}
		}
		backend vllm %s {
			api_key {env.BACKEND_KEY}
			discover 1s
		}
		backend unasked %s {
			api_key {env.BACKEND_KEY}
			models fixed *
			discover off
		}
		backend demo {
			api echo
			models echo
		}
		%s`, ollama.URL, vllm.URL, unasked.URL, extra)
	}
	g := newGate(t)
	caddyfile := g.caddyfile("", config(""))

	path := filepath.Join(g.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	validate := gatetest.Command(t, "validate", "--config", path)
	validate.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=50", "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir,
		"CALLER_KEY="+callerKey, "OTHER_KEY="+otherKey, "ADMIN_KEY="+adminKey, "BACKEND_KEY="+backendKey)
	if out, err := validate.CombinedOutput(); err != nil {
		t.Fatalf("validating: %v\n%s", err, out)
	}
	if n := ollama.asked.Load() + vllm.asked.Load(); n != 0 {
		t.Errorf("validating asked backends %d times", n)
	}

	g.start(caddyfile)
	const all = "fixed echo llama3:latest shared org/qwen-3"
	eventually(t, "the models are listed", func() bool { return g.models(callerKey) == all })
	if got := g.models(otherKey); got != "org/qwen-3" {
		t.Errorf("bob sees %s", got)
	}
	const listed = `{"id":"llama3:latest","object":"model","created":1700000000,"owned_by":"ollama"}` + "\n"
	if a := g.do("GET", "/v1/models/llama3:latest", callerKey, ""); a.status != 200 || a.body != listed {
		t.Errorf("one model: %d %s", a.status, a.body)
	}
	for model, want := range map[string]string{"org/qwen-3": "vllm", "llama3": "ollama", "llama3:latest": "ollama", "shared": "ollama", "unknown": "ollama", "fixed": "unasked"} {
		if a := g.chat(callerKey, model, "hi"); a.status != 200 || !strings.Contains(a.body, `"content":"`+want+`"`) {
			t.Errorf("%s: %d %s, want the answer of %s", model, a.status, a.body, want)
		}
	}
	counted := g.counted()
	for series, want := range map[string]float64{
		`pinegate_requests_total{backend="vllm",endpoint="chat",model="org/qwen-3",status="200"}`:      1,
		`pinegate_requests_total{backend="ollama",endpoint="chat",model="llama3:latest",status="200"}`: 2,
		`pinegate_requests_total{backend="ollama",endpoint="chat",model="other",status="200"}`:         1,
	} {
		if counted[series] != want {
			t.Errorf("%s is %v, want %v", series, counted[series], want)
		}
	}

	// A backend that fails keeps its list, over a reload too.
	ollama.list.Store(nil)
	vllm.list.Store(nil)
	before := ollama.asked.Load()
	if status := g.reload(g.caddyfile("", config("max_body 5MB"))); status != 200 {
		t.Fatalf("reloading: %d", status)
	}
	eventually(t, "it is asked again", func() bool { return ollama.asked.Load() > before })
	if got := g.models(callerKey); got != all {
		t.Errorf("after a reload %s are listed", got)
	}
	// And what changes is seen.
	changed := `[{"id":"org/new"}]`
	vllm.list.Store(&changed)
	eventually(t, "the new list is served", func() bool { return g.models(otherKey) == "org/new" })
	if n := unasked.asked.Load(); n != 0 {
		t.Errorf("the backend that is not to be asked was, %d times", n)
	}
}
