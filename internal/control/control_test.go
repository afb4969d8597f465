package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// gate is a configuration with one key, `fixed`, and one team, `core`.
type gate struct {
	registry *registry.Registry
	err      error
	state    *state // nil: nothing runs
}

func (g *gate) Registry() (*registry.Registry, error) { return g.registry, g.err }
func (g *gate) Configured() iter.Seq[*keys.Key] {
	return slices.Values([]*keys.Key{{ID: "fixed", Team: "core"}})
}
func (g *gate) ConfiguredTeam(id string) bool { return id == "core" }
func (g *gate) ServeUsage(w http.ResponseWriter, r *http.Request) *Problem {
	if r.URL.Query().Get("limit") == "x" {
		return NewProblem(http.StatusBadRequest, "limit is no number")
	}
	_, _ = io.WriteString(w, `{"object":"page"}`)
	return nil
}

func (g *gate) State() (State, *Problem) {
	if g.state == nil {
		return nil, NewProblem(http.StatusNotImplemented, "nothing runs")
	}
	return g.state, nil
}

// fixture is an API over a gate, with its log and its audit.
type fixture struct {
	*testing.T
	gate  *gate
	api   *API
	log   bytes.Buffer
	audit []registry.Audit
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t}
	memory := registry.NewMemory()
	f.gate = &gate{registry: registry.New(func() (registry.Storage, error) { return memory, nil }, registry.Options{
		Audit: func(a registry.Audit) { f.audit = append(f.audit, a) },
	})}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}), zapcore.AddSync(&f.log), zapcore.DebugLevel)
	f.api = New(func() (Gate, error) { return f.gate, nil }, func(*http.Request) string { return "test" }, zap.New(core))
	return f
}

// ask sends a request and checks the status of the answer, whose body it returns.
func (f *fixture) ask(method, path, body string, status int) string {
	f.Helper()
	res := httptest.NewRecorder()
	f.api.ServeHTTP(res, httptest.NewRequest(method, path, strings.NewReader(body)))
	if res.Code != status {
		f.Errorf("%s %s: %d %s, want %d", method, path, res.Code, res.Body, status)
	}
	if status >= 400 {
		var problem Problem
		if err := json.Unmarshal(res.Body.Bytes(), &problem); err != nil || problem.Status != status || problem.Detail == "" ||
			res.Header().Get("Content-Type") != "application/problem+json" {
			f.Errorf("%s %s: %s is no problem", method, path, res.Body)
		}
	}
	if res.Header().Get("Cache-Control") != "no-store" {
		f.Errorf("%s %s may be stored", method, path)
	}
	return res.Body.String()
}

func TestAKeyGoesThroughItsLife(t *testing.T) {
	f := newFixture(t)
	var created CreatedKey
	if err := json.Unmarshal([]byte(f.ask("POST", "/pinegate/keys", `{"id":"alice","env":"test","team":"core","limits":["3 requests/hour"]}`, 201)), &created); err != nil {
		t.Fatal(err)
	}
	if created.ID != "alice" || !strings.HasPrefix(created.Key, "pg_test_") || created.Details.Team != "core" {
		t.Errorf("created %+v", created)
	}
	if shown := f.ask("GET", "/pinegate/keys/alice", "", 200); strings.Contains(shown, created.Key) || !strings.Contains(shown, created.Key[61:]) || strings.Contains(shown, "hash") {
		t.Errorf("shown: %s", shown)
	}
	if updated := f.ask("PATCH", "/pinegate/keys/alice", `{"team":null,"disabled":true}`, 200); !strings.Contains(updated, `"disabled":true`) || strings.Contains(updated, "core") {
		t.Errorf("updated: %s", updated)
	}
	if rotated := f.ask("POST", "/pinegate/keys/alice/rotate", `{"grace":"1d"}`, 200); !strings.Contains(rotated, "pg_live_") {
		t.Errorf("rotated: %s", rotated)
	}
	if revoked := f.ask("POST", "/pinegate/keys/alice/revoke", "", 200); strings.Contains(revoked, `"revoked_at":null`) {
		t.Errorf("revoked: %s", revoked)
	}
	f.ask("DELETE", "/pinegate/keys/alice", "", 204)
	f.ask("GET", "/pinegate/keys/alice", "", 404)
	var actions []string
	for _, a := range f.audit {
		if a.Actor != "test" || a.ID != "alice" {
			t.Errorf("audit: %+v", a)
		}
		actions = append(actions, a.Action)
	}
	if want := []string{"create", "update", "rotate", "revoke", "delete"}; !slices.Equal(actions, want) {
		t.Errorf("audited %q", actions)
	}
	if strings.Contains(f.log.String(), created.Key) {
		t.Error("the log holds the secret")
	}
}

func TestKeysOfTheConfigurationAreShownAndCannotBeChanged(t *testing.T) {
	f := newFixture(t)
	f.ask("POST", "/pinegate/keys", `{"id":"zoe"}`, 201)
	f.ask("POST", "/pinegate/keys", `{"id":"alice"}`, 201)
	list := f.ask("GET", "/pinegate/keys?limit=2", "", 200)
	if a, b := strings.Index(list, `"id":"alice"`), strings.Index(list, `"id":"fixed"`); a < 0 || b < a || strings.Contains(list, "zoe") || !strings.Contains(list, `"next":"fixed"`) {
		t.Errorf("first page: %s", list)
	}
	if list := f.ask("GET", "/pinegate/keys?after=fixed", "", 200); !strings.Contains(list, "zoe") || strings.Contains(list, "alice") || !strings.Contains(list, `"next":null`) {
		t.Errorf("second page: %s", list)
	}
	if list := f.ask("GET", "/pinegate/keys?team=core", "", 200); !strings.Contains(list, `"source":"config"`) || strings.Contains(list, "zoe") {
		t.Errorf("a team's: %s", list)
	}
	if empty := f.ask("GET", "/pinegate/keys?team=none", "", 200); !strings.Contains(empty, `"data":[]`) {
		t.Errorf("nobody's: %s", empty)
	}
	f.ask("POST", "/pinegate/keys", `{"id":"fixed"}`, 409)
	f.ask("PATCH", "/pinegate/keys/fixed", `{"team":"x"}`, 409)
	f.ask("POST", "/pinegate/keys/fixed/revoke", ``, 409)
	f.ask("DELETE", "/pinegate/keys/fixed", ``, 409)
	f.ask("POST", "/pinegate/teams", `{"id":"core"}`, 409)
}

func TestATeamGoesThroughItsLife(t *testing.T) {
	f := newFixture(t)
	f.ask("POST", "/pinegate/teams", `{"id":"search","limits":["25 usd/month"]}`, 201)
	f.ask("POST", "/pinegate/teams", `{"id":"search"}`, 409)
	if list := f.ask("GET", "/pinegate/teams", "", 200); !strings.Contains(list, "25 usd/month") {
		t.Errorf("list: %s", list)
	}
	if team := f.ask("PATCH", "/pinegate/teams/search", `{"models":["gpt-*"]}`, 200); !strings.Contains(team, "gpt-*") {
		t.Errorf("updated: %s", team)
	}
	f.ask("GET", "/pinegate/teams/search", "", 200)
	f.ask("DELETE", "/pinegate/teams/search", "", 204)
	f.ask("GET", "/pinegate/teams/search", "", 404)
}

func TestRefusalsAreProblems(t *testing.T) {
	f := newFixture(t)
	f.ask("POST", "/pinegate/keys", `{"id":"alice"}`, 201)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/pinegate/keys", `{"id":"alice"}`, 409, "already"},
		{"POST", "/pinegate/keys", `{"id":"a b"}`, 400, "letters"},
		{"POST", "/pinegate/keys", `{}`, 400, "empty"},
		{"POST", "/pinegate/keys", `{"id":"b","limit":"x"}`, 400, "limit: unknown field"},
		{"POST", "/pinegate/keys", `{"id":"b","limits":["x"]}`, 400, "limits"},
		{"POST", "/pinegate/keys", `{"id":"b","id":"c"}`, 400, "twice"},
		{"POST", "/pinegate/keys", `{"id":"b","env":"prod"}`, 400, "env"},
		{"POST", "/pinegate/keys", `[`, 400, "JSON object"},
		{"POST", "/pinegate/keys", strings.Repeat(" ", maxBody+1), 413, "larger"},
		{"POST", "/pinegate/keys/alice/rotate", `{"grace":"soon"}`, 400, "grace"},
		{"POST", "/pinegate/keys/alice/rotate", `{"grace":"-1h"}`, 400, "grace"},
		{"POST", "/pinegate/keys/nobody/rotate", `{}`, 404, "none with this id"},
		{"PATCH", "/pinegate/keys/alice", `{"metadata":5}`, 400, "metadata"},
		{"GET", "/pinegate/keys?limit=0", ``, 400, "limit"},
		{"GET", "/pinegate/keys/nobody", ``, 404, "nobody"},
		{"GET", "/pinegate/nothing", ``, 404, "openapi.json"},
		{"PUT", "/pinegate/keys", ``, 405, "PUT"},
		{"GET", "/pinegate/usage?limit=x", ``, 400, "no number"},
	} {
		if body := f.ask(c.method, c.path, c.body, c.status); !strings.Contains(body, c.want) {
			t.Errorf("%s %s %.60s: %s, want %s", c.method, c.path, c.body, body, c.want)
		}
	}
}

func TestAChangeCanBeBoundToAVersion(t *testing.T) {
	f := newFixture(t)
	f.ask("POST", "/pinegate/keys", `{"id":"alice"}`, 201)
	for _, c := range []struct {
		version string
		status  int
	}{{`"7"`, 412}, {"x", 400}, {`"1"`, 200}, {`"1"`, 412}, {"*", 200}} {
		res := httptest.NewRecorder()
		req := httptest.NewRequest("PATCH", "/pinegate/keys/alice", strings.NewReader(`{}`))
		req.Header.Set("If-Match", c.version)
		f.api.ServeHTTP(res, req)
		if res.Code != c.status {
			t.Errorf("If-Match %s: %d %s", c.version, res.Code, res.Body)
		}
	}
}

func TestWhatIsAwayIsSaid(t *testing.T) {
	f := newFixture(t)
	f.gate.err = errors.New("write `keys store`")
	if body := f.ask("POST", "/pinegate/keys", `{"id":"alice"}`, 409); !strings.Contains(body, "keys store") {
		t.Error(body)
	}
	f.ask("GET", "/pinegate/keys", "", 200) // those of the configuration
	f.ask("GET", "/pinegate/teams", "", 200)

	away := newFixture(t)
	away.gate.registry = registry.New(func() (registry.Storage, error) { return nil, registry.ErrUnavailable }, registry.Options{})
	away.ask("POST", "/pinegate/keys", `{"id":"alice"}`, 503)
	away.api.Gate = func() (Gate, error) { return nil, errors.New("nothing runs") }
	away.ask("GET", "/pinegate/keys", "", 503)
}

func TestTheDescriptionHasEachRouteAndNoOther(t *testing.T) {
	f := newFixture(t)
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal([]byte(f.ask("GET", "/pinegate/openapi.json", "", 200)), &doc); err != nil {
		t.Fatal(err)
	}
	described := make(map[string]bool)
	for path, operations := range doc.Paths {
		for method := range operations {
			if method != "parameters" {
				described[strings.ToUpper(method)+" "+path[1:]] = true
			}
		}
	}
	for _, r := range routes {
		if name := r.Method + " " + r.Path; !described[name] {
			t.Errorf("%s is not described", name)
		} else {
			delete(described, name)
		}
	}
	for name := range described {
		t.Errorf("%s is described and does not exist", name)
	}
}
