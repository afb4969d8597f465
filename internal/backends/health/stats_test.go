package health

import (
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/queue"
)

func TestTheStateOfABackendTellsWhatWasTried(t *testing.T) {
	l := new(BackendState)
	if s := l.Snapshot(day); s.Attempts != 0 || s.Failures != 0 || s.FirstToken != 0 || s.Cooldowns != nil || s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("of one that nobody has tried: %+v", s)
	}
	l.SetCapacity(queue.Capacity{Inflight: 1, Waiting: 5, Bytes: 1000, Wait: time.Minute})
	if !l.Begin() {
		t.Fatal("no place")
	}
	ended, queued := make(chan error), make(chan struct{})
	go func() { ended <- l.Wait(t.Context(), "alice", 100, func() { close(queued) }) }()
	<-queued
	l.Succeeded("m", "alice", day, day)
	l.Failed(Failure{"m", "", 30 * time.Second, true}, day)
	for range failuresAllowed {
		l.Failed(Failure{"", "", 0, false}, day)
	}
	l.Failed(Failure{"past", "", time.Second, false}, day.Add(-time.Minute))
	s := l.Snapshot(day)
	if s.InFlight != 1 || s.Waiting != 1 || s.Capacity.Inflight != 1 || s.Capacity.Waiting != 5 || s.Attempts != 5+1 || s.Failures != 5 {
		t.Errorf("%+v", s)
	}
	if len(s.Cooldowns) != 2 || s.Cooldowns[0].Model != "" || s.Cooldowns[0].Limited || !s.Cooldowns[0].Until.After(day) ||
		s.Cooldowns[1] != (Cooldown{"m", "", day.Add(30 * time.Second), true}) {
		t.Errorf("left alone: %+v", s.Cooldowns)
	}
	l.End(time.Time{})
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheTimeToTheFirstTokenIsThatOfStreamsWhereThereAreAny(t *testing.T) {
	l := new(BackendState)
	l.RecordFirstToken(false, 20*time.Second)
	if got := l.Snapshot(day).FirstToken; got != 20*time.Second {
		t.Errorf("of an answer that came whole: %v", got)
	}
	l.RecordFirstToken(true, time.Second)
	if got := l.Snapshot(day).FirstToken; got != time.Second {
		t.Errorf("of a stream: %v", got)
	}
	l.RecordFirstToken(true, 2*time.Second)
	if got := l.Snapshot(day).FirstToken; got != 1100*time.Millisecond {
		t.Errorf("the last one counts a tenth: %v", got)
	}
}
