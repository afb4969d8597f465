package handlers

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTheListOfRequestsTellsHowFarEachIs(t *testing.T) {
	f := new(InFlight)
	c, meter := asked(t, "req_1")
	c.g, c.request.Stream = new(Gateway), true
	f.add(c)
	list := func() Running {
		t.Helper()
		running, total := f.List(10)
		if len(running) != 1 || total != 1 || f.Len() != 1 {
			t.Fatalf("%+v of %d", running, total)
		}
		return running[0]
	}
	want := Running{ID: "req_1", Key: "alice", Team: "red", Endpoint: "chat", Model: "m", Stream: true, State: Waiting, Start: c.start, Input: 14}
	if got := list(); got != want {
		t.Errorf("before any attempt: %+v, want %+v", got, want)
	}
	f.wait(c, 1, time.Now())
	want.Backend = "west"
	if got := list(); got != want {
		t.Errorf("waiting for its turn: %+v, want %+v", got, want)
	}
	f.resume(c, time.Now())
	c.progress.begin(meter, 1, 1)
	want.State = Sent
	if got := list(); got != want {
		t.Errorf("sent: %+v, want %+v", got, want)
	}
	body := meter.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(delta+`data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}`+"\n\n")))
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
	c.g.HideModels = true
	if got := list().Model; got != "*" {
		t.Errorf("a model that is hidden: %q", got)
	}
	f.remove(c)
	if running, total := f.List(10); len(running) != 0 || total != 0 {
		t.Errorf("after its end: %+v", running)
	}
}

func TestTheListOfRequestsBeginsWithTheOldest(t *testing.T) {
	f := new(InFlight)
	for i := range 5 {
		c, _ := asked(t, fmt.Sprint(i))
		c.g = new(Gateway)
		f.add(c)
	}
	if running, total := f.List(3); total != 5 || len(running) != 3 || running[0].ID != "0" || running[2].ID != "2" {
		t.Errorf("%+v of %d", running, total)
	}
}
