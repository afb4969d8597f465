package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// discovery asks a backend over a transport with these options; proxy is what
// newProxied wants.
func discovery(t *testing.T, transport, proxy string, handle http.HandlerFunc) *Discovery {
	t.Helper()
	p := newProxied(t, transport, proxy, backend(t, handle).URL)
	return &Discovery{Name: "mock", Forwarder: p.way, Every: time.Minute, Catalog: new(Catalog), Names: new(Names), Logger: zap.NewNop()}
}

// listed names what a catalog holds.
func (c *Catalog) listed() string {
	var ids []string
	for _, m := range c.Models() {
		ids = append(ids, m.ID)
	}
	return strings.Join(ids, " ")
}

func TestBackendIsAskedForItsModels(t *testing.T) { eachWay(t, testBackendIsAsked) }

func testBackendIsAsked(t *testing.T, proxy string) {
	for _, c := range []struct{ name, transport, uri, header string }{
		{"openai", keyed, "/v1/models", "Authorization: Bearer " + canary},
		{"base path", keyed + `,"base_path":"/api/v1"`, "/api/v1/models", "Authorization: Bearer " + canary},
	} {
		d := discovery(t, c.transport, proxy, func(w http.ResponseWriter, r *http.Request) {
			if got := header(c.header); r.Method != "GET" || r.RequestURI != c.uri || r.Header.Get("Authorization") != got.Get("Authorization") {
				t.Errorf("%s: asked %s %s with %v", c.name, r.Method, r.RequestURI, r.Header)
			}
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Forwarded") || name == "Via" {
					t.Errorf("%s: %s was sent", c.name, name)
				}
			}
			_, _ = io.WriteString(w, `{"data":[{"id":"a"},{"id":"b:latest"}]}`)
		})
		models, err := d.ask(t.Context())
		d.note(models, err)
		if err != nil || d.Catalog.listed() != "a b:latest" {
			t.Errorf("%s: %s, %v", c.name, d.Catalog.listed(), err)
		}
		for name, want := range map[string]bool{"a": true, "b:latest": true, "b": true, "a:latest": false, "b:7b": false, "c": false, "": false} {
			if got := d.Catalog.Has(name); got != want {
				t.Errorf("%s: has %q: %t", c.name, name, got)
			}
		}
		if name, ok := d.Names.Label("b"); !ok || name != "b:latest" {
			t.Errorf("%s: the label of b is %q", c.name, name)
		}
	}
}

func TestAnthropicsListComesInPages(t *testing.T) {
	var asked []string
	d := discovery(t, keyed+`,"api":"anthropic"`, "", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		if r.Header.Get("X-Api-Key") != canary || r.Header.Get("Anthropic-Version") != "2023-06-01" {
			t.Errorf("asked with %v", r.Header)
		}
		switch r.URL.Query().Get("after_id") {
		case "":
			_, _ = io.WriteString(w, `{"data":[{"id":"a&b"}],"has_more":true,"last_id":"a&b"}`)
		default:
			_, _ = io.WriteString(w, `{"data":[{"id":"c"}],"has_more":false,"last_id":"c"}`)
		}
	})
	d.Anthropic = true
	models, err := d.ask(t.Context())
	if want := []string{"limit=1000", "after_id=a%26b&limit=1000"}; err != nil || len(models) != 2 || !slices.Equal(asked, want) {
		t.Errorf("%d models, asked %q, %v", len(models), asked, err)
	}
}

// TestListThatIsNoneKeepsTheLast: whatever a backend sends, the gate goes on with
// what it knows, and in bounds.
func TestListThatIsNoneKeepsTheLast(t *testing.T) { eachWay(t, testListThatIsNone) }

func testListThatIsNone(t *testing.T, proxy string) {
	var names strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&names, `{"id":"model-%d"},`, i)
	}
	many := `{"data":[` + strings.TrimSuffix(names.String(), ",") + `]}`
	broken := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"data":[`)
	}
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	pages := 0
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		err    string
		models int
	}{
		"refused":  {says(401, canary), "answered 401", 0},
		"unknown":  {says(404, "404"), "answered 404", 0},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "answered 302", 0},
		"no list":  {says(200, `{"id":"`+canary+`"}`), "has no data", 0},
		"too long": {says(200, `{"data":[{"id":"`+strings.Repeat("x", maxListBytes)+`"}]}`), "longer than", 0},
		"cut":      {broken, "broke off", 0},
		"too many": {says(200, many), "", 1000},
		"no end": {func(w http.ResponseWriter, r *http.Request) {
			pages++
			fmt.Fprintf(w, `{"data":[{"id":"m%d"}],"has_more":true,"last_id":"m%d"}`, pages, pages)
		}, "", maxListPages},
		"the same page": {says(200, `{"data":[{"id":"m"}],"has_more":true,"last_id":"m"}`), "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := discovery(t, keyed, proxy, c.answer)
			d.Catalog.Set([]wire.Model{{ID: "last"}})
			models, err := d.ask(t.Context())
			d.note(models, err)
			if c.err == "" {
				if err != nil || len(models) != c.models {
					t.Errorf("%d models, %v", len(models), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), canary) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if got := d.Catalog.listed(); got != "last" {
				t.Errorf("the list became %q", got)
			}
		})
	}
}

func TestDiscoveryTellsChangesOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	d := &Discovery{Name: "mock", Every: 10 * time.Minute, Catalog: new(Catalog), Names: new(Names), Logger: zap.New(core)}
	list, failure := []wire.Model{{ID: "a"}}, errors.New("away")
	for _, step := range []struct {
		models []wire.Model
		err    error
		want   string // the log's line, if there is one
		wait   time.Duration
	}{
		{nil, failure, "a backend does not tell", 5 * time.Second},
		{nil, failure, "", 10 * time.Second},
		{nil, failure, "", 20 * time.Second},
		{list, nil, "models discovered", 10 * time.Minute},
		{list, nil, "", 10 * time.Minute},
		{append(list, wire.Model{ID: "b"}), nil, "models discovered", 10 * time.Minute},
		{nil, failure, "a backend does not tell", 5 * time.Second},
	} {
		d.note(step.models, step.err)
		lines := logs.TakeAll()
		if step.want == "" && len(lines) > 0 || step.want != "" && (len(lines) != 1 || !strings.HasPrefix(lines[0].Message, step.want)) {
			t.Errorf("logged %v, want %q", lines, step.want)
		}
		if wait := d.wait(); wait < step.wait*9/10 || wait > step.wait*11/10+1 {
			t.Errorf("waits %s, want about %s", wait, step.wait)
		}
	}
	d.failures = 1 << 20
	if wait := d.wait(); wait < 9*time.Minute || wait > 11*time.Minute+1 {
		t.Errorf("after many failures it waits %s", wait)
	}
}

func TestDiscoveryEndsWhileABackendDoesNotAnswer(t *testing.T) {
	asked := make(chan struct{})
	d := discovery(t, "", "", func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		d.Run(ctx)
		close(ended)
	}()
	<-asked
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it still asks")
	}
}

// TestNamesAreBounded: over the life of a process a backend may list any number.
func TestNamesAreBounded(t *testing.T) {
	var names Names
	for i := range 20 {
		var models []wire.Model
		for j := range 100 {
			models = append(models, wire.Model{ID: fmt.Sprintf("m-%d-%d", i, j)})
		}
		names.Add(models)
	}
	if n := len(*names.known.Load()); n != maxDiscovered {
		t.Errorf("%d names", n)
	}
	if _, ok := names.Label("m-0-0"); !ok {
		t.Error("an early name is gone")
	}
}
