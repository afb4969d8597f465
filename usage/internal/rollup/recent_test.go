package rollup

import (
	"fmt"
	"testing"
)

func TestRecentKnowsTheLastIDs(t *testing.T) {
	r := newRecent()
	for i := range 5 * recentWindow {
		if hash := r.hash(fmt.Sprint(i)); !r.has(hash) {
			r.add(hash)
		}
		if oldest := i - recentWindow + 1; oldest >= 0 && !r.has(r.hash(fmt.Sprint(oldest))) {
			t.Fatalf("id %d is forgotten after %d more", oldest, i-oldest)
		}
	}
	if r.has(r.hash("0")) || len(r.now)+len(r.old) > 2*recentWindow {
		t.Error("ids are never forgotten")
	}
}
