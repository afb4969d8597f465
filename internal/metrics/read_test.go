package metrics

import (
	"slices"
	"testing"
	"time"
)

func TestCountsCanBeReadWithoutMakingSeries(t *testing.T) {
	before := time.Now()
	m := newMetrics(false)
	if m.Since().Before(before) || m.Since().After(time.Now()) {
		t.Errorf("counting since %v", m.Since())
	}
	if all, up := m.Rejections(), m.BackendsUp(); len(all) > 0 || len(up) > 0 {
		t.Errorf("of nothing: %v, %v", all, up)
	}
	m.Rejected("rate_limit", "key")
	m.Rejected("quota", "team")
	m.Rejected("quota", "key")
	m.Rejected("quota", "key")
	want := []Rejection{{"quota", "key", 2}, {"quota", "team", 1}, {"rate_limit", "key", 1}}
	if got := m.Rejections(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	m.Backend("east").Reached(true)
	m.Backend("west").Reached(false)
	m.Backend("untried")
	up := m.BackendsUp()
	if reached, tried := up["west"]; len(up) != 2 || !up["east"] || reached || !tried {
		t.Errorf("%v", up)
	}
}
