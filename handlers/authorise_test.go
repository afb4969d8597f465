package handlers

import (
	"net/http/httptest"
	"testing"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// scanned returns a request of a key that may use the models.
func scanned(t *testing.T, e wire.Endpoint, body string, models ...string) *request {
	t.Helper()
	parsed, err := wirerequest.Scan(e, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	key := &keys.Key{ID: "alice"}
	for _, model := range models {
		p, err := pattern.Parse(model)
		if err != nil {
			t.Fatal(err)
		}
		key.Models = append(key.Models, p)
	}
	return &request{
		g: &Gateway{Policy: new(Policy), ReserveOutput: 4096}, r: httptest.NewRequest("POST", "/", nil), endpoint: e, dialect: e.Dialect(),
		key: key, grants: &grants{key: key}, parsed: parsed,
	}
}

func TestModelsInOtherPlacesNeedToBeAllowed(t *testing.T) {
	const advisor = `{"model":"small","tools":[{"type":"advisor_20260301","model":"big"}]}`
	for _, c := range []struct {
		name   string
		body   string
		models []string
		param  string // of the refusal; "" for none
	}{
		{"a key without a list", advisor, nil, ""},
		{"a key with both models", advisor, []string{"small", "b*"}, ""},
		{"a key with one model", advisor, []string{"small"}, "tools"},
		{"a plugin", `{"model":"small","plugins":[{"id":"x","model":"big"}]}`, []string{"small"}, "plugins"},
		{"a pattern of models", `{"model":"small","plugins":[{"allowed_models":["*"]}]}`, []string{"small"}, "plugins"},
		{"a model of unknown form", `{"model":"small","tools":[{"model":{"x":1}}]}`, []string{"small"}, "tools"},
	} {
		q := scanned(t, wire.Messages, c.body, c.models...)
		switch err := q.authorise(); {
		case c.param == "" && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case c.param != "" && (err == nil || err.Kind != wire.KindModelForbidden || err.Param != c.param):
			t.Errorf("%s: got %+v, want a refusal of %s", c.name, err, c.param)
		}
	}
}

func TestModelsInOtherPlacesNeedAPriceUnderABudget(t *testing.T) {
	block := func(name string, output string) *Model {
		p, err := pattern.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		price, err := pricing.Parse([]string{"input", "1", "output", output})
		if err != nil {
			t.Fatal(err)
		}
		return &Model{Pattern: p, Price: &price}
	}
	budget := []*limiter.Rule{limiter.NewRule(limiter.ScopeKey, "alice", limiter.Limit{Unit: limiter.USD, Window: limiter.Day, Amount: 1e9})}
	for _, c := range []struct {
		name   string
		blocks []*Model
		priced bool
		rate   int64
	}{
		{"both have one", []*Model{block("small", "10"), block("big", "100")}, true, 100_000_000},
		{"one has none", []*Model{block("small", "10")}, false, 10_000_000},
	} {
		q := scanned(t, wire.Messages, `{"model":"small","max_tokens":9,"tools":[{"type":"advisor_1","model":"big"}]}`)
		q.g.Policy = &Policy{Models: c.blocks}
		q.grants.rules = budget
		q.policy = q.g.Policy.model("small")
		q.candidates = []routing.Candidate{{Backend: &routing.Backend{Name: "b"}, Model: "small", Price: c.blocks[0].Price}}
		asks, priced := q.limits()
		if priced != c.priced || asks.OutputPrice != c.rate {
			t.Errorf("%s: priced %t, at most %d", c.name, priced, asks.OutputPrice)
		}
	}
}

func TestAnothersProfileIsRefused(t *testing.T) {
	q := scanned(t, wire.Messages, `{"model":"small"}`)
	q.r.Header.Set("anthropic-user-profile-id", "uprof_1")
	if err := q.authorise(); err == nil || err.Kind != wire.KindBadRequest || err.Param != "Anthropic-User-Profile-Id" {
		t.Errorf("got %+v", err)
	}
}
