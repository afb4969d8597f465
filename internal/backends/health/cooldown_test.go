package health

import (
	"fmt"
	"testing"
	"time"
)

// day is the current time in these tests.
var day = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func later(seconds float64) time.Time { return day.Add(time.Duration(seconds * float64(time.Second))) }

func TestABackendIsLeftAloneForAsLongAsItAsks(t *testing.T) {
	l := new(BackendState)
	if rest := l.Failed("m", 30*time.Second, true, later(0)); rest != 30*time.Second {
		t.Errorf("left alone for %v", rest)
	}
	for seconds, want := range map[float64]Backoff{
		0:    {Wait: 30 * time.Second, Limited: true},
		29:   {Wait: time.Second, Limited: true},
		30:   {},
		3000: {},
	} {
		if got := l.Backoff("m", later(seconds)); got != want {
			t.Errorf("after %v s: %+v, want %+v", seconds, got, want)
		}
	}
	if got := l.Backoff("other", later(1)); got != (Backoff{}) {
		t.Errorf("another model: %+v", got)
	}
	l.Succeeded("m", later(1)) // the request was sent before
	if got := l.Backoff("m", later(2)); got.Wait != 28*time.Second {
		t.Errorf("an answer of a request from before: %+v", got)
	}
	if rest := l.Failed("m", time.Minute, true, later(10)); rest != 0 {
		t.Errorf("told of twice: %v", rest)
	}
	if got := l.Backoff("m", later(10)); got.Wait != time.Minute {
		t.Errorf("another time: %+v", got)
	}
	if rest := l.Failed("x", 24*time.Hour, true, later(0)); rest != maxAsked {
		t.Errorf("it asked for a day and is left alone for %v", rest)
	}
}

func TestABackendThatFailsAgainAndAgainRestsLongerAndLonger(t *testing.T) {
	for _, model := range []string{"m", ""} {
		l := new(BackendState)
		now := day
		for i := range failuresAllowed - 1 {
			if rest := l.Failed(model, 0, false, now); rest != 0 {
				t.Fatalf("failure %d: a rest of %v", i, rest)
			}
		}
		l.Succeeded("m", now) // the failures were not in a row
		for range failuresAllowed - 1 {
			l.Failed(model, 0, false, now)
		}
		most := firstBackoff
		for i := range 10 {
			rest := l.Failed(model, 0, false, now)
			if rest > most || rest <= most/2-1 {
				t.Errorf("rest %d takes %v, want up to a half less than %v", i, rest, most)
			}
			if got := l.Backoff("m", now); got.Wait != rest || got.Limited || got.Whole != (model == "") {
				t.Errorf("rest %d: %+v", i, got)
			}
			if again := l.Failed(model, 0, false, now.Add(rest/2)); again != 0 {
				t.Errorf("a request from before makes it longer, by %v", again)
			}
			now = now.Add(rest)
			if got := l.Backoff("m", now); got.Wait != 0 {
				t.Errorf("rest %d has no end: %+v", i, got)
			}
			most = min(2*most, maxBackoff)
		}
		l.Succeeded("m", now)
		if l.Failed(model, 0, false, now) != 0 {
			t.Error("one failure after a success is taken for one more in a row")
		}
	}
}

func TestARefusalForALimitWithoutATimeIsARestAtOnce(t *testing.T) {
	l := new(BackendState)
	if rest := l.Failed("m", 0, true, day); rest <= 0 || rest > firstBackoff {
		t.Errorf("a rest of %v", rest)
	}
	if got := l.Backoff("m", day); !got.Limited {
		t.Errorf("%+v", got)
	}
}

func TestOneRequestFindsOutWhetherABackendWorksAgain(t *testing.T) {
	l := new(BackendState)
	if l.Probe("m", day) {
		t.Error("nothing has failed, and somebody finds out what")
	}
	l.Failed("m", time.Second, true, day)
	after := later(2)
	if got := l.Backoff("m", after); got != (Backoff{}) {
		t.Fatalf("%+v", got)
	}
	if !l.Probe("m", after) {
		t.Error("the first one does not find out")
	}
	if got := l.Backoff("m", after); !got.Last || got.Wait != 0 {
		t.Errorf("the others do not go elsewhere: %+v", got)
	}
	if l.Probe("m", after) {
		t.Error("the second one finds out, too")
	}
	if l.EndProbe("m"); l.Backoff("m", after).Last || !l.Probe("m", after) {
		t.Error("after one whose caller left nobody finds out")
	}
	if late := after.Add(probeTimeout); l.Backoff("m", late).Last || !l.Probe("m", late) {
		t.Error("all wait for one that takes long")
	}
	l.Succeeded("m", after)
	if got := l.Backoff("m", after); got != (Backoff{}) || l.Probe("m", after) {
		t.Errorf("it works, and %+v", got)
	}
	if l.cooldowns.some.Load() || len(l.cooldowns.each) > 0 {
		t.Error("something is kept of a backend that works")
	}
}

func TestALimitThatIsSpentMakesABackendTheLastOne(t *testing.T) {
	l := new(BackendState)
	l.Exhausted("m", time.Minute, day)
	if got := l.Backoff("m", later(59)); got != (Backoff{Last: true}) {
		t.Errorf("%+v", got)
	}
	if got := l.Backoff("m", later(60)); got != (Backoff{}) {
		t.Errorf("%+v", got)
	}
}

func TestModelsThatCallersMakeUpAreForgotten(t *testing.T) {
	l := new(BackendState)
	l.Failed("", time.Minute, false, day)
	for i := range 2 * cooldownsKept {
		l.Failed(fmt.Sprint(i), time.Minute, true, day)
	}
	if n := len(l.cooldowns.each); n > cooldownsKept {
		t.Errorf("%d are kept", n)
	}
	if !l.Backoff("m", day).Whole {
		t.Error("the backend itself is forgotten")
	}
}
