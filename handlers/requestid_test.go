package handlers

import (
	"regexp"
	"testing"
	"time"
)

func TestRequestIDsAreUniqueAndSortByTime(t *testing.T) {
	form := regexp.MustCompile(`^req_[0-9a-f]{32}$`)
	now := time.Now()
	seen := make(map[string]bool)
	for range 10_000 {
		id := newRequestID(now)
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("id %q", id)
		}
		if later := newRequestID(now.Add(time.Millisecond)); later <= id {
			t.Fatalf("%s of a millisecond later sorts before %s", later, id)
		}
		seen[id] = true
	}
}
