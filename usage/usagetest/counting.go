package usagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/usage"
)

func (s Subject) countsEverything(t *testing.T) {
	l := s.open(t)
	first, second := sample("1", Epoch), sample("2", Epoch)
	second.Outcome, second.Estimated, second.Priced = usage.Timeout, true, false
	record(t, l, first)
	s.settle(t, l)
	record(t, l, second)

	got := all(t, l, "")
	cost := got.CostUSD
	got.CostUSD = nil
	want := usage.Result{
		Object: "usage.result", Requests: 2, Errors: 1, InputTokens: 200, CachedTokens: 60, CacheWriteTokens: 40,
		OutputTokens: 100, ReasoningTokens: 20, EstimatedRequests: 1, UnpricedRequests: 1,
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if cost == nil || *cost != 1_234_567 {
		t.Errorf("cost is %v, want 0.001234567", cost)
	}
}

func (s Subject) countsOnce(t *testing.T) {
	l := s.open(t)
	for range 3 {
		record(t, l, sample("same", Epoch))
		s.settle(t, l)
	}
	record(t, l, sample("other", Epoch))
	if got := all(t, l, ""); got.Requests != 2 {
		t.Errorf("%d requests, want 2", got.Requests)
	}
}

func (s Subject) countsErrors(t *testing.T) {
	for outcome, want := range map[usage.Outcome]int64{
		usage.OK: 0, usage.ClientClosed: 0, usage.StreamLimit: 0, usage.Shutdown: 0, usage.UpstreamError: 1, usage.Timeout: 1,
	} {
		l := s.open(t)
		r := sample("1", Epoch)
		r.Outcome = outcome
		record(t, l, r)
		if got := all(t, l, ""); got.Errors != want || got.Requests != 1 {
			t.Errorf("%s: %d errors of %d requests, want %d of 1", outcome, got.Errors, got.Requests, want)
		}
	}
}

func (s Subject) sumsPriced(t *testing.T) {
	l := s.open(t)
	for i := range 3 {
		r := sample(fmt.Sprint("unpriced ", i), Epoch)
		r.Priced, r.CostNano = false, 999
		record(t, l, r)
	}
	if got := all(t, l, ""); got.CostUSD != nil || got.UnpricedRequests != 3 {
		t.Errorf("cost %v with %d unpriced requests, want none with 3", got.CostUSD, got.UnpricedRequests)
	}
	free := sample("free", Epoch)
	free.CostNano = 0
	record(t, l, free)
	if got := all(t, l, ""); got.CostUSD == nil || *got.CostUSD != 0 {
		t.Errorf("cost of a free model is %v, want 0", got.CostUSD)
	}
}

func (s Subject) refusesRecords(t *testing.T) {
	l := s.open(t)
	for name, spoil := range map[string]func(*usage.Record){
		"no id":            func(r *usage.Record) { r.ID = "" },
		"no start":         func(r *usage.Record) { r.Start = time.Time{} },
		"no endpoint":      func(r *usage.Record) { r.Endpoint = "" },
		"unknown outcome":  func(r *usage.Record) { r.Outcome = "fine" },
		"negative tokens":  func(r *usage.Record) { r.Output = -1 },
		"absurd tokens":    func(r *usage.Record) { r.Input = 1e18 },
		"negative cost":    func(r *usage.Record) { r.CostNano = -1 },
		"before retention": func(r *usage.Record) { r.Start = Epoch.AddDate(-2, 0, 0) },
	} {
		r := sample("1", Epoch)
		spoil(r)
		if err := l.Record(context.Background(), r); !errors.Is(err, usage.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
	record(t, l, sample("1", Epoch)) // the id was not used up
	if got := all(t, l, ""); got.Requests != 1 {
		t.Errorf("%d requests, want 1", got.Requests)
	}
}

func (s Subject) boundsModels(t *testing.T) {
	l := s.open(t)
	const asked = 6000
	for i := range asked {
		r := sample(fmt.Sprint(i), Epoch)
		r.Model = fmt.Sprint("made-up-", i)
		record(t, l, r)
	}
	honest := sample("honest", Epoch)
	honest.Key = "bob"
	record(t, l, honest)

	results := query(t, l, "group_by=model&keys=alice&start_time="+unix(Epoch)+"&end_time="+unix(Epoch.Add(time.Second))).Data[0].Results
	var sum, other int64
	for _, r := range results {
		sum += r.Requests
		if *r.Model == "other" {
			other = r.Requests
		}
	}
	if sum != asked || other == 0 || len(results) >= asked {
		t.Errorf("%d requests in %d models, %d of them other; want all %d, bounded", sum, len(results), other, asked)
	}
	if got := all(t, l, "keys=bob&group_by=model"); *got.Model != "gpt" {
		t.Errorf("another key's model is %s, want gpt", *got.Model)
	}
}

func (s Subject) concurrency(t *testing.T) {
	l := s.open(t)
	const writers, each = 8, 500
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	reading.Go(func() {
		var last int64
		for {
			var now int64
			for _, b := range query(t, l, "group_by=key").Data {
				for _, r := range b.Results {
					now += r.Requests
				}
			}
			if now < last {
				t.Errorf("%d requests after %d: a query lost some", now, last)
			}
			if last = now; last > writers*each {
				t.Errorf("%d requests, want at most %d: a query counted twice", last, writers*each)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	reading.Go(func() {
		for {
			s.settle(t, l)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				r := sample(fmt.Sprintf("%d/%d", w, i), Epoch.Add(-time.Duration(i)*time.Second))
				r.Key = fmt.Sprint("key ", i%7)
				if err := l.Record(context.Background(), r); err != nil {
					t.Error(err)
				}
				if err := l.Record(context.Background(), r); err != nil { // twice
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	got := all(t, l, "")
	if got.Requests != writers*each || got.InputTokens != 100*writers*each {
		t.Errorf("%d requests and %d input tokens, want %d and %d", got.Requests, got.InputTokens, writers*each, 100*writers*each)
	}
}

func (s Subject) closes(t *testing.T) {
	l := s.open(t)
	record(t, l, sample("1", Epoch))
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatalf("closing: %v", err)
		}
	}
	if err := l.Record(context.Background(), sample("2", Epoch)); !errors.Is(err, usage.ErrClosed) {
		t.Errorf("recording: %v, want ErrClosed", err)
	}
	if _, err := l.Query(context.Background(), usage.Query{Start: Epoch, End: Epoch.Add(time.Hour)}); !errors.Is(err, usage.ErrClosed) {
		t.Errorf("querying: %v, want ErrClosed", err)
	}
	if _, err := l.Totals(context.Background(), "alice", Epoch); !errors.Is(err, usage.ErrClosed) {
		t.Errorf("totals: %v, want ErrClosed", err)
	}
}
