package backends

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// newDiscovery lists a backend's models over a transport with these options;
// proxy is as for newProxied.
func newDiscovery(t *testing.T, transport, proxy string, handle http.HandlerFunc) *discovery.Discovery {
	t.Helper()
	p := newProxied(t, transport, proxy, backend(t, handle).URL)
	return &discovery.Discovery{
		Backend: "mock", Page: ListModels(p.way, strings.Contains(transport, "anthropic")), Every: time.Minute,
		Catalog: new(discovery.Catalog), Names: new(discovery.Names), Logger: zap.NewNop(),
	}
}

// listed returns the names in a catalog.
func listed(c *discovery.Catalog) string {
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
		d := newDiscovery(t, c.transport, proxy, func(w http.ResponseWriter, r *http.Request) {
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
		err := d.Refresh(t.Context())
		if err != nil || listed(d.Catalog) != "a b:latest" {
			t.Errorf("%s: %s, %v", c.name, listed(d.Catalog), err)
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
	d := newDiscovery(t, keyed+`,"api":"anthropic"`, "", func(w http.ResponseWriter, r *http.Request) {
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
	err := d.Refresh(t.Context())
	models := d.Catalog.Models()
	if want := []string{"limit=1000", "after_id=a%26b&limit=1000"}; err != nil || len(models) != 2 || !slices.Equal(asked, want) {
		t.Errorf("%d models, asked %q, %v", len(models), asked, err)
	}
}

// TestListThatIsNoneKeepsTheLast: whatever a backend sends, the gate keeps its
// last list, within bounds.
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
		"cut":      {broken, "did not answer", 0},
		"too many": {says(200, many), "", 1000},
		"no end": {func(w http.ResponseWriter, r *http.Request) {
			pages++
			fmt.Fprintf(w, `{"data":[{"id":"m%d"}],"has_more":true,"last_id":"m%d"}`, pages, pages)
		}, "", 20},
		"the same page": {says(200, `{"data":[{"id":"m"}],"has_more":true,"last_id":"m"}`), "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDiscovery(t, keyed, proxy, c.answer)
			d.Catalog.Set([]wire.Model{{ID: "last"}})
			err := d.Refresh(t.Context())
			if c.err == "" {
				if models := d.Catalog.Models(); err != nil || len(models) != c.models {
					t.Errorf("%d models, %v", len(models), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), canary) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if got := listed(d.Catalog); got != "last" {
				t.Errorf("the list became %q", got)
			}
		})
	}
}

func TestDiscoveryEndsWhileABackendDoesNotAnswer(t *testing.T) {
	asked := make(chan struct{})
	d := newDiscovery(t, "", "", func(_ http.ResponseWriter, r *http.Request) {
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
