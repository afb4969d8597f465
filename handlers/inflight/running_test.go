package inflight

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTheListOfRequestsShowsHowFarEachIs(t *testing.T) {
	s := new(Set)
	e, m := asked("req_1")
	e.Stream = true
	s.Add(e)
	list := func() Running {
		t.Helper()
		running, total := s.List(10)
		if len(running) != 1 || total != 1 || s.Len() != 1 {
			t.Fatalf("%+v of %d", running, total)
		}
		return running[0]
	}
	want := Running{ID: "req_1", Key: "alice", Team: "red", Endpoint: "chat", Model: "m", Stream: true, State: Waiting, Start: e.Request.(chat).start, Input: 14}
	if got := list(); got != want {
		t.Errorf("before any attempt: %+v, want %+v", got, want)
	}
	s.Wait(e, 1, time.Now())
	want.Backend = "west"
	if got := list(); got != want {
		t.Errorf("waiting for its turn: %+v, want %+v", got, want)
	}
	s.Resume(e, time.Now())
	e.Begin(Attempt{Candidate: 1, N: 1, Meter: m})
	want.State = Sent
	if got := list(); got != want {
		t.Errorf("sent: %+v, want %+v", got, want)
	}
	body := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(delta+`data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}`+"\n\n")))
	if _, err := io.ReadFull(body, make([]byte, len(delta))); err != nil {
		t.Fatal(err)
	}
	want.State, want.Output = Answering, 2
	if got := list(); got != want {
		t.Errorf("answering: %+v, want %+v", got, want)
	}
	if _, err := io.ReadAll(body); err != nil {
		t.Fatal(err)
	}
	want.Input, want.Output = 9, 3
	if got := list(); got != want {
		t.Errorf("with its usage: %+v, want %+v", got, want)
	}
	e.HideModel = true
	if got := list().Model; got != "*" {
		t.Errorf("a model that is hidden: %q", got)
	}
	s.Remove(e)
	if running, total := s.List(10); len(running) != 0 || total != 0 {
		t.Errorf("after its end: %+v", running)
	}
}

func TestTheListOfRequestsBeginsWithTheOldest(t *testing.T) {
	s := new(Set)
	var entries []*Entry
	for i := range 5 {
		e, _ := asked(fmt.Sprint(i))
		s.Add(e)
		entries = append(entries, e)
	}
	ids := func(n int) (ids string) {
		running, _ := s.List(n)
		for _, r := range running {
			ids += r.ID
		}
		return ids
	}
	if got := ids(3); got != "012" || s.Len() != 5 {
		t.Errorf("%s of %d", got, s.Len())
	}
	for _, step := range []struct {
		remove int
		left   string
	}{{2, "0134"}, {0, "134"}, {4, "13"}, {1, "3"}, {3, ""}} {
		s.Remove(entries[step.remove])
		if got := ids(9); got != step.left || s.Len() != len(step.left) {
			t.Errorf("%q of %d are left, want %q", got, s.Len(), step.left)
		}
	}
}
