// Package usagetest is the test suite that every usage ledger must pass.
package usagetest

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
)

// Subject is the ledger that the suite tests.
type Subject struct {
	// Open opens a ledger that keeps daily sums for 400 days, by the clock now.
	// If Durable is set, ledgers opened in one directory, one after the other,
	// are the same ledger.
	Open func(t testing.TB, dir string, now func() time.Time) usage.Ledger

	// Durable is set if everything survives Close and Open.
	Durable bool

	// Settle, if set, makes a ledger move its data to its final place, such as a
	// file. The suite calls it between records: answers must not depend on it.
	Settle func(t testing.TB, ledger usage.Ledger)

	// Peer, if set, opens the ledger of another gate that shares its records with
	// the ledger in dir, and has its own directory. Both answer with what either
	// of them has settled.
	Peer func(t testing.TB, dir, own string, now func() time.Time) usage.Ledger
}

// Run runs the suite.
func (s Subject) Run(t *testing.T) {
	t.Run("counts every number of a record", s.countsEverything)
	t.Run("counts a record once", s.countsOnce)
	t.Run("counts as errors what backends did", s.countsErrors)
	t.Run("sums only what is priced", s.sumsPriced)
	t.Run("refuses records that make no sense", s.refusesRecords)
	t.Run("puts records in UTC's buckets", s.buckets)
	t.Run("groups and filters", s.groups)
	t.Run("pages through a range", s.pages)
	t.Run("takes records that come late", s.late)
	t.Run("sums up for a key", s.totals)
	t.Run("forgets what is older than it keeps", s.forgets)
	t.Run("bounds the models of a key", s.boundsModels)
	t.Run("agrees with plain addition", s.agrees)
	t.Run("counts right under concurrency", s.concurrency)
	t.Run("is closed once", s.closes)
	if s.Durable {
		t.Run("keeps everything over a restart", s.restarts)
	}
	if s.Peer != nil {
		t.Run("answers alike on every gate", s.alike)
	}
}

// Epoch is the initial time of the suite's clocks: a Wednesday, in the middle
// of a month.
var Epoch = time.Date(2026, 4, 15, 10, 30, 20, 0, time.UTC)

func (s Subject) open(t testing.TB) usage.Ledger {
	return s.openAt(t, func() time.Time { return Epoch })
}

func (s Subject) openAt(t testing.TB, now func() time.Time) usage.Ledger {
	t.Helper()
	l := s.Open(t, t.TempDir(), now)
	t.Cleanup(func() { l.Close() })
	return l
}

func (s Subject) settle(t testing.TB, l usage.Ledger) {
	t.Helper()
	if s.Settle != nil {
		s.Settle(t, l)
	}
}

// sample returns a record at start, with a nonzero value in every number.
func sample(id string, start time.Time) *usage.Record {
	return &usage.Record{
		ID: id, Start: start, Key: "alice", Team: "red", Endpoint: "chat", Model: "gpt", Backend: "east", UpstreamModel: "gpt-1", Status: 200,
		Tokens:   wire.Tokens{Input: 100, CacheRead: 30, CacheWrite: 20, Output: 50, Reasoning: 10},
		CostNano: 1_234_567, Priced: true, FirstToken: time.Second, Duration: 2 * time.Second, Outcome: usage.OK, Attempts: 1,
	}
}

func record(t testing.TB, l usage.Ledger, records ...*usage.Record) {
	t.Helper()
	for _, r := range records {
		if err := l.Record(context.Background(), r); err != nil {
			t.Fatalf("recording %s: %v", r.ID, err)
		}
	}
}

// query returns the answer at Epoch to the query string params.
func query(t testing.TB, l usage.Ledger, params string) *usage.Page {
	t.Helper()
	values, err := url.ParseQuery(params)
	if err != nil {
		t.Fatalf("parsing %s: %v", params, err)
	}
	q, err := usage.ParseQuery(values, Epoch)
	if err != nil {
		t.Fatalf("parsing %s: %v", params, err)
	}
	page, err := l.Query(context.Background(), q)
	if err != nil {
		t.Fatalf("querying %s: %v", params, err)
	}
	return page
}

// all returns the only result of a query over everything that the suite
// records.
func all(t testing.TB, l usage.Ledger, params string) usage.Result {
	t.Helper()
	var found []usage.Result
	for _, b := range query(t, l, params).Data {
		found = append(found, b.Results...)
	}
	if len(found) != 1 {
		t.Fatalf("querying %s: %d results, want 1: %+v", params, len(found), found)
	}
	return found[0]
}
