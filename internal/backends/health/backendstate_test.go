package health

import (
	"testing"
	"time"
)

func TestBackendStatesAreByName(t *testing.T) {
	var set Set
	a, b := set.Get("a"), set.Get("b")
	a.Begin()
	a.Begin()
	a.End(time.Time{})
	if set.Get("a") != a || a.InFlight() != 1 || b.InFlight() != 0 {
		t.Errorf("a has %d requests in flight, b %d", a.InFlight(), b.InFlight())
	}
}
