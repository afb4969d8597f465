package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
)

// state is a State with limits in memory, which counts the limits that are
// read.
type state struct {
	byKind [4][]*limiter.Rule // in the order of ids
	memory *memory.Store
	own    bool
	err    error

	yielded int
	peeked  []int // rules of each call
}

func (s *state) Rules(kind limiter.ScopeKind, from string) iter.Seq[*limiter.Rule] {
	return func(yield func(*limiter.Rule) bool) {
		for _, r := range s.byKind[kind] {
			if r.ID < from {
				continue
			}
			if s.yielded++; !yield(r) {
				return
			}
		}
	}
}

func (s *state) Peek(ctx context.Context, rules []*limiter.Rule) ([]limiter.State, bool, error) {
	s.peeked = append(s.peeked, len(rules))
	if s.err != nil {
		return nil, false, s.err
	}
	states, err := s.memory.Peek(ctx, rules)
	return states, s.own, err
}

func (s *state) Backends(time.Time) []Backend { return []Backend{{Name: "b"}} }
func (s *state) Requests(n int, _ time.Time) RequestList {
	return RequestList{Data: make([]Request, min(n, 3)), Total: 3}
}
func (s *state) Rejections() RejectionList {
	return RejectionList{Data: []Rejection{{"quota", "key", 7}}}
}
func (s *state) Status(context.Context) Status { return Status{Version: "v1"} }

// newState gives a gate limits: keys k000 to k249 with two each, and one of each
// other scope, of which the model's pattern has a slash.
func newState(t *testing.T, f *fixture) *state {
	t.Helper()
	s := &state{memory: memory.New(memory.Options{})}
	t.Cleanup(func() { _ = s.memory.Close() })
	add := func(kind limiter.ScopeKind, id string, texts ...string) {
		for _, text := range texts {
			limit, err := limiter.ParseLimit(strings.Fields(text))
			if err != nil {
				t.Fatal(err)
			}
			s.byKind[kind] = append(s.byKind[kind], limiter.NewRule(kind, id, limit))
		}
	}
	for i := range 250 {
		add(limiter.ScopeKey, fmt.Sprintf("k%03d", i), "25 usd/month", "60 requests/minute burst 10")
	}
	add(limiter.ScopeTeam, "search", "8 concurrent")
	add(limiter.ScopeModel, "org/gpt-*", "1000 tokens/day")
	add(limiter.ScopeBackend, "vllm", "5 requests/second")
	f.gate.state = s
	return s
}

// pages asks for a list page by page.
func (f *fixture) pages(query string) (all []Limit) {
	f.Helper()
	after := ""
	for range 1000 {
		var page LimitPage
		if err := json.Unmarshal([]byte(f.ask("GET", "/pinegate/limits?"+query+after, "", 200)), &page); err != nil {
			f.Fatal(err)
		}
		all = append(all, page.Data...)
		if page.Next == nil {
			return all
		}
		after = "&after=" + *page.Next
	}
	f.Fatal("the pages have no end")
	return nil
}

func TestPagesHoldEachLimitOnceAndLookAtNoOthers(t *testing.T) {
	f := newFixture(t)
	s := newState(t, f)
	for _, n := range []int{1, 7, 100, 1000} {
		var names []string
		for _, l := range f.pages(fmt.Sprintf("limit=%d", n)) {
			names = append(names, l.Scope+" "+l.ID+" "+l.Unit)
		}
		if len(names) != 503 || names[0] != "key k000 requests" || names[1] != "key k000 usd" || names[499] != "key k249 usd" ||
			!slices.Equal(names[500:], []string{"team search concurrent", "model org/gpt-* tokens", "backend vllm requests"}) {
			t.Fatalf("pages of %d: %d limits, %v", n, len(names), names)
		}
		slices.Sort(names)
		if once := slices.Compact(names); len(once) != 503 {
			t.Errorf("pages of %d: %d of 503 limits", n, len(once))
		}
	}
	s.peeked, s.yielded = nil, 0
	f.ask("GET", "/pinegate/limits?limit=250&after=key/usd/month/k100", "", 200)
	if !slices.Equal(s.peeked, []int{100, 100, 50}) || s.yielded > 260 {
		t.Errorf("looked at %v of %d limits for a page of 250", s.peeked, s.yielded)
	}
}

func TestLimitsAreFilteredByScopeAndID(t *testing.T) {
	f := newFixture(t)
	newState(t, f)
	for query, want := range map[string]int{
		"scope=key&id=k007": 2, "scope=team": 1, "scope=model&id=org/gpt-*": 1, "id=vllm": 1, "id=nobody": 0,
		"scope=team&id=k007": 0, "scope=key&id=k007&limit=1": 2, "scope=backend&after=key/usd/month/k249": 1,
		"scope=key&after=team/concurrent//search": 0, "id=k007&after=key/usd/month/k008": 0,
	} {
		if got := f.pages(query); len(got) != want {
			t.Errorf("%s: %d limits, want %d", query, len(got), want)
		}
	}
}

func TestALimitTellsWhatIsUsedHeldAndLeft(t *testing.T) {
	f := newFixture(t)
	s := newState(t, f)
	rules := slices.Concat(s.byKind[0][:2], s.byKind[1], s.byKind[2])
	reserve := func(id string, cost int64) limiter.Reservation {
		r, err := s.memory.Reserve(t.Context(), limiter.Request{ID: id, Rules: rules, Input: 100, InputCost: cost})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	reserve("1", limiter.NanoUSD).Settle(t.Context(), limiter.Usage{Dispatched: true, Input: 300, Cost: limiter.NanoUSD / 2})
	reserve("2", 2*limiter.NanoUSD)
	shown := func() map[string]string {
		got := make(map[string]string)
		for _, l := range slices.Concat(f.pages("id=k000"), f.pages("scope=team"), f.pages("scope=model")) {
			reset := l.ResetAt
			l.ResetAt = nil
			text, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			got[l.Unit] = string(text)
			if (reset == nil) != (l.Unit == "concurrent") || reset != nil && *reset < time.Now().Unix() {
				t.Errorf("%s is reset at %v", l.Unit, reset)
			}
		}
		return got
	}
	for unit, want := range map[string]string{
		"requests":   `"unit":"requests","window":"minute","limit":60,"burst":10,"used":null,"reserved":null,"remaining":8,`,
		"usd":        `"unit":"usd","window":"month","limit":25,"burst":null,"used":0.5,"reserved":2,"remaining":22.5,`,
		"concurrent": `"scope":"team","id":"search","unit":"concurrent","window":null,"limit":8,"burst":null,"used":1,"reserved":null,"remaining":7,`,
		"tokens":     `"unit":"tokens","window":"day","limit":1000,"burst":null,"used":300,"reserved":100,"remaining":600,`,
	} {
		if got := shown()[unit]; !strings.Contains(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	s.own = true // as it is while Redis is away: what was used is not known
	for unit, got := range shown() {
		if !strings.Contains(got, `"used":null,"reserved":null`) {
			t.Errorf("%s of a gate alone: %s", unit, got)
		}
	}
	if page := f.ask("GET", "/pinegate/limits", "", 200); !strings.Contains(page, `"stale":true`) {
		t.Error("the page does not say that it is stale")
	}
}

func TestStateIsToldAndRefusalsAreProblems(t *testing.T) {
	f := newFixture(t)
	s := newState(t, f)
	for path, want := range map[string]string{
		"backends": `{"data":[{"name":"b",`, "requests": `"total":3`, "requests?limit=2": `"total":3`,
		"rejections": `{"reason":"quota","scope":"key","count":7}`, "status": `"version":"v1"`,
	} {
		if got := f.ask("GET", "/pinegate/"+path, "", 200); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	for path, want := range map[string]string{
		"limits?limit=0": "1 to 1000", "limits?limit=1001": "1 to 1000", "requests?limit=x": "1 to 1000",
		"limits?scope=user": "key, team, model or backend", "limits?after=alice": "next", "limits?after=key/usd/never/a": "next",
	} {
		if got := f.ask("GET", "/pinegate/"+path, "", 400); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	s.err = errors.New("redis at 10.0.0.1 is away")
	if got := f.ask("GET", "/pinegate/limits", "", 503); strings.Contains(got, "10.0.0.1") || !strings.Contains(f.log.String(), "10.0.0.1") {
		t.Errorf("%s\nlogged %s", got, f.log.String())
	}
	f.gate.state = nil
	for _, path := range []string{"limits", "backends", "requests", "rejections", "status"} {
		f.ask("GET", "/pinegate/"+path, "", 501)
	}
}

// The OpenAPI description has exactly the fields of the answers.
func TestTheDescriptionHasEachFieldAndNoOther(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Required   []string                   `json:"required"`
				Properties map[string]json.RawMessage `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for _, value := range []any{
		Limit{}, LimitPage{}, Backend{}, Cooldown{}, Credentials{}, BackendList{}, Request{}, RequestList{}, Rejection{}, RejectionList{}, Store{}, Status{},
	} {
		kind := reflect.TypeOf(value)
		described := doc.Components.Schemas[kind.Name()]
		var fields []string
		for i := range kind.NumField() {
			fields = append(fields, kind.Field(i).Tag.Get("json"))
		}
		var properties []string
		for name := range described.Properties {
			properties = append(properties, name)
		}
		slices.Sort(fields)
		slices.Sort(properties)
		slices.Sort(described.Required)
		if !slices.Equal(fields, properties) || !slices.Equal(fields, described.Required) {
			t.Errorf("%s has %v and is described with %v, required %v", kind.Name(), fields, properties, described.Required)
		}
	}
}
