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
	if rest := l.Failed(Failure{"m", "", 30 * time.Second, true}, later(0)); rest != 30*time.Second {
		t.Errorf("left alone for %v", rest)
	}
	for seconds, want := range map[float64]Backoff{
		0:    {Wait: 30 * time.Second, Limited: true},
		29:   {Wait: time.Second, Limited: true},
		30:   {},
		3000: {},
	} {
		if got := l.Backoff("m", "alice", later(seconds)); got != want {
			t.Errorf("after %v s: %+v, want %+v", seconds, got, want)
		}
	}
	if got := l.Backoff("other", "alice", later(1)); got != (Backoff{}) {
		t.Errorf("another model: %+v", got)
	}
	l.Succeeded("m", "alice", later(-1), later(1)) // the request was sent before
	if got := l.Backoff("m", "alice", later(2)); got.Wait != 28*time.Second {
		t.Errorf("an answer of a request from before: %+v", got)
	}
	if rest := l.Failed(Failure{"m", "", time.Minute, true}, later(10)); rest != 0 {
		t.Errorf("told of twice: %v", rest)
	}
	if got := l.Backoff("m", "alice", later(10)); got.Wait != time.Minute {
		t.Errorf("another time: %+v", got)
	}
	if rest := l.Failed(Failure{"x", "", 24 * time.Hour, true}, later(0)); rest != maxAsked {
		t.Errorf("it asked for a day and is left alone for %v", rest)
	}
}

func TestABackendThatFailsAgainAndAgainRestsLongerAndLonger(t *testing.T) {
	for _, model := range []string{"m", ""} {
		l := new(BackendState)
		now := day
		for i := range failuresAllowed - 1 {
			if rest := l.Failed(Failure{model, "", 0, false}, now); rest != 0 {
				t.Fatalf("failure %d: a rest of %v", i, rest)
			}
		}
		l.Succeeded("m", "alice", now, now) // the failures were not in a row
		for range failuresAllowed - 1 {
			l.Failed(Failure{model, "", 0, false}, now)
		}
		most := firstBackoff
		for i := range 10 {
			rest := l.Failed(Failure{model, "", 0, false}, now)
			if rest > most || rest <= most/2-1 {
				t.Errorf("rest %d takes %v, want up to a half less than %v", i, rest, most)
			}
			if got := l.Backoff("m", "alice", now); got.Wait != rest || got.Limited || got.Whole != (model == "") {
				t.Errorf("rest %d: %+v", i, got)
			}
			if again := l.Failed(Failure{model, "", 0, false}, now.Add(rest/2)); again != 0 {
				t.Errorf("a request from before makes it longer, by %v", again)
			}
			now = now.Add(rest)
			if got := l.Backoff("m", "alice", now); got.Wait != 0 {
				t.Errorf("rest %d has no end: %+v", i, got)
			}
			most = min(2*most, maxBackoff)
		}
		l.Succeeded("m", "alice", now, now)
		if l.Failed(Failure{model, "", 0, false}, now) != 0 {
			t.Error("one failure after a success is taken for one more in a row")
		}
	}
}

func TestARefusalForALimitWithoutATimeIsARestAtOnce(t *testing.T) {
	l := new(BackendState)
	if rest := l.Failed(Failure{"m", "", 0, true}, day); rest <= 0 || rest > firstBackoff {
		t.Errorf("a rest of %v", rest)
	}
	if got := l.Backoff("m", "alice", day); !got.Limited {
		t.Errorf("%+v", got)
	}
}

func TestOneRequestFindsOutWhetherABackendWorksAgain(t *testing.T) {
	l := new(BackendState)
	if l.Probe("m", "alice", day) {
		t.Error("nothing has failed, and somebody finds out what")
	}
	l.Failed(Failure{"m", "", time.Second, true}, day)
	after := later(2)
	if got := l.Backoff("m", "alice", after); got != (Backoff{}) {
		t.Fatalf("%+v", got)
	}
	if !l.Probe("m", "alice", after) {
		t.Error("the first one does not find out")
	}
	if got := l.Backoff("m", "alice", after); !got.Last || got.Wait != 0 {
		t.Errorf("the others do not go elsewhere: %+v", got)
	}
	if l.Probe("m", "alice", after) {
		t.Error("the second one finds out, too")
	}
	if l.EndProbe("m", "alice"); l.Backoff("m", "alice", after).Last || !l.Probe("m", "alice", after) {
		t.Error("after one whose caller left nobody finds out")
	}
	if late := after.Add(probeTimeout); l.Backoff("m", "alice", late).Last || !l.Probe("m", "alice", late) {
		t.Error("all wait for one that takes long")
	}
	l.Succeeded("m", "alice", after, after)
	if got := l.Backoff("m", "alice", after); got != (Backoff{}) || l.Probe("m", "alice", after) {
		t.Errorf("it works, and %+v", got)
	}
	if l.cooldowns.some.Load() || len(l.cooldowns.models) > 0 {
		t.Error("something is kept of a backend that works")
	}
}

func TestALimitThatIsSpentMakesABackendTheLastOne(t *testing.T) {
	l := new(BackendState)
	l.Exhausted("m", time.Minute, day)
	if got := l.Backoff("m", "alice", later(59)); got != (Backoff{Last: true}) {
		t.Errorf("%+v", got)
	}
	if got := l.Backoff("m", "alice", later(60)); got != (Backoff{}) {
		t.Errorf("%+v", got)
	}
}

func TestModelsThatCallersMakeUpAreForgotten(t *testing.T) {
	l := new(BackendState)
	l.Failed(Failure{"", "", time.Minute, false}, day)
	for i := range 2 * cooldownsKept {
		l.Failed(Failure{fmt.Sprint(i), "", time.Minute, true}, day)
	}
	if n := len(l.cooldowns.models); n > cooldownsKept {
		t.Errorf("%d are kept", n)
	}
	if !l.Backoff("m", "alice", day).Whole {
		t.Error("the backend itself is forgotten")
	}
}

// What a request of a key may have caused counts for other keys only once a second
// key has met it.
func TestWhatAKeyMeetsCoolsDownForItAlone(t *testing.T) {
	for _, f := range []Failure{{Model: "m", Asked: time.Minute, Limited: true}, {Model: "m"}, {Model: "", Asked: time.Minute}} {
		l := new(BackendState)
		fail := func(key string) {
			f.Key = key
			for range failuresAllowed {
				l.Failed(f, day)
			}
		}
		cools := func(key string) bool { return l.Backoff("m", key, day).Wait > 0 }
		fail("mallory")
		if !cools("mallory") || cools("alice") {
			t.Errorf("%+v: cools down for mallory %v, for alice %v", f, cools("mallory"), cools("alice"))
		}
		fail("mallory")
		if cools("alice") {
			t.Errorf("%+v: one key makes it cool down for another", f)
		}
		fail("bob")
		if got := l.Backoff("m", "alice", day); got.Wait == 0 || got.Whole != (f.Model == "") {
			t.Errorf("%+v: two keys have met it, and for alice %+v", f, got)
		}
		if got := l.Snapshot(day).Cooldowns; len(got) != 3 || got[0].Key != "" || got[1].Key != "bob" || got[2].Key != "mallory" {
			t.Errorf("%+v: shown as %+v", f, got)
		}
		l.Succeeded("m", "alice", later(1), later(2))
		if got := l.Backoff("m", "alice", later(2)); got.Wait > 0 && f.Asked == 0 {
			t.Errorf("%+v: it works for alice, and %+v", f, got)
		}
		l.Succeeded("m", "bob", later(1), later(2))
		if got := l.Backoff("m", "alice", later(2)); got.Wait > 0 {
			t.Errorf("%+v: it works for bob, and for alice %+v", f, got)
		}
	}
}

// A failure that can't be about a request counts for all keys.
func TestABackendThatCannotBeReachedCoolsDownForAll(t *testing.T) {
	l := new(BackendState)
	for range failuresAllowed {
		l.Unreachable(day)
	}
	if got := l.Backoff("m", "alice", day); got.Wait == 0 || !got.Whole {
		t.Errorf("%+v", got)
	}
}

func TestWhileABackendCoolsDownARequestASecondGoesThrough(t *testing.T) {
	l := new(BackendState)
	l.Failed(Failure{"m", "alice", 4 * time.Minute, true}, day)
	for seconds, want := range []bool{true, true, true} {
		at := later(float64(seconds))
		if got := l.Pace("m", "alice", at); got != want || l.Pace("m", "alice", at.Add(pace/2)) {
			t.Errorf("after %d s: %v, or two in a second", seconds, got)
		}
	}
	l.Failed(Failure{"m", "", 4 * time.Minute, true}, day) // for all
	granted := map[string]int{}
	for i := range 100 {
		for _, key := range []string{"mallory", "mallory", "bob", "alice"} {
			if l.Pace("m", key, later(10+float64(i)/10)) {
				granted[key]++
			}
		}
	}
	if n := granted["mallory"] + granted["bob"] + granted["alice"]; n < 8 || n > 11 || granted["mallory"] > n/2+1 {
		t.Errorf("in ten seconds %v", granted)
	}
	l.Succeeded("m", "bob", later(21), later(22)) // sent after the wait began
	if got := l.Backoff("m", "bob", later(22)); got.Wait > 0 {
		t.Errorf("it works again, and %+v", got)
	}
}

func TestAFailureThatWasAboutTheRequestIsForgiven(t *testing.T) {
	l := new(BackendState)
	for range 3 * failuresAllowed {
		l.Failed(Failure{Model: "m", Key: "alice"}, day)
		l.Forgive("m", "alice", day)
	}
	if got := l.Backoff("m", "alice", day); got != (Backoff{}) || l.cooldowns.some.Load() {
		t.Errorf("%+v", got)
	}
}

func TestKeysAreForgottenIfThereAreTooMany(t *testing.T) {
	l := new(BackendState)
	for i := range 2 * cooldownsKept {
		l.Failed(Failure{"m", fmt.Sprint(i), time.Minute, true}, day)
	}
	if n := len(l.cooldowns.models["m"].keys); n > cooldownsKept || n != l.cooldowns.n {
		t.Errorf("%d are kept, and %d counted", n, l.cooldowns.n)
	}
	for i := range 2 * cooldownsKept {
		l.Succeeded("m", fmt.Sprint(i), later(1), later(2))
	}
	if l.cooldowns.some.Load() || l.cooldowns.n != 0 {
		t.Errorf("%d are left of a backend that works", l.cooldowns.n)
	}
}
