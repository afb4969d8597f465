package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestARequestIsCountedOnceInEachSeries(t *testing.T) {
	m := newMetrics(false)
	r := Request{
		Endpoint: "chat", Backend: "b", Model: "m", Key: "alice", Status: 200,
		Input: 10, Output: 5, CacheRead: 4, CostUSD: 0.5, Duration: time.Second, FirstToken: time.Millisecond,
	}
	m.Observe(r)
	r.Key, r.CacheRead, r.Reasoning, r.Estimated = "bob", 0, 2, true
	m.Observe(r)
	r.Status = 502
	m.Observe(r)

	registry := prometheus.NewPedanticRegistry()
	for _, c := range m.collectors() {
		registry.MustRegister(c)
	}
	want := `
# HELP pinegate_requests_total Requests that reached a backend, by the status the caller got.
# TYPE pinegate_requests_total counter
pinegate_requests_total{backend="b",endpoint="chat",model="m",status="200"} 2
pinegate_requests_total{backend="b",endpoint="chat",model="m",status="502"} 1
# HELP pinegate_tokens_total Tokens by type; cache_read and cache_write are parts of input, reasoning is a part of output.
# TYPE pinegate_tokens_total counter
pinegate_tokens_total{backend="b",model="m",type="cache_read"} 4
pinegate_tokens_total{backend="b",model="m",type="input"} 30
pinegate_tokens_total{backend="b",model="m",type="output"} 15
pinegate_tokens_total{backend="b",model="m",type="reasoning"} 4
# HELP pinegate_usage_estimated_total Records whose tokens were estimated, since the backend did not report them.
# TYPE pinegate_usage_estimated_total counter
pinegate_usage_estimated_total{backend="b",model="m"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"pinegate_requests_total", "pinegate_tokens_total", "pinegate_usage_estimated_total"); err != nil {
		t.Error(err)
	}
}

func TestKeysAreLabelsOnlyOnRequest(t *testing.T) {
	for perKey, want := range map[bool]int{false: 1, true: 2} {
		m := newMetrics(perKey)
		m.Observe(Request{Endpoint: "chat", Backend: "b", Model: "m", Key: "alice", Status: 200})
		m.Observe(Request{Endpoint: "chat", Backend: "b", Model: "m", Key: "bob", Status: 200})
		if got := testutil.CollectAndCount(m.requests); got != want {
			t.Errorf("perKey %t: %d series, want %d", perKey, got, want)
		}
	}
}

func TestAReloadKeepsTheCounts(t *testing.T) {
	first, err := For(prometheus.NewRegistry(), false)
	if err != nil {
		t.Fatal(err)
	}
	first.Rejected("rate_limit", "key")
	before := testutil.ToFloat64(first.rejected.WithLabelValues("rate_limit", "key"))
	registry := prometheus.NewRegistry()
	for range 2 { // two gates of one configuration share its registry
		again, err := For(registry, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(again.rejected.WithLabelValues("rate_limit", "key")); got != before {
			t.Errorf("%v rejections after a reload, %v before", got, before)
		}
	}
}

func TestObserveOfKnownLabelsAllocatesNothing(t *testing.T) {
	m := newMetrics(false)
	r := Request{Endpoint: "chat", Backend: "b", Model: "m", Status: 200, Input: 1, Output: 1, Duration: 1, FirstToken: 1}
	if n := testing.AllocsPerRun(100, func() { m.Observe(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHistogramsOfWhatNeverWasHaveNoSeries(t *testing.T) {
	m := newMetrics(false)
	m.Observe(Request{Endpoint: "embeddings", Backend: "b", Model: "m", Status: 502, Duration: time.Second})
	if first, inter := testutil.CollectAndCount(m.firstToken), testutil.CollectAndCount(m.interToken); first != 0 || inter != 0 {
		t.Errorf("%d series of first tokens and %d of those after it, of an answer that never came", first, inter)
	}
	m.Observe(Request{Endpoint: "chat", Backend: "b", Model: "m", Status: 200, FirstToken: time.Second, InterToken: time.Second})
	if first, inter := testutil.CollectAndCount(m.firstToken), testutil.CollectAndCount(m.interToken); first != 1 || inter != 1 {
		t.Errorf("%d series of first tokens and %d of those after it", first, inter)
	}
}
