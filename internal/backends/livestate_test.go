package backends

import (
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestTheStateOfABackendTellsWhatWasTried(t *testing.T) {
	l := new(Live)
	if s := l.State(day); s.Attempts != 0 || s.Failures != 0 || s.FirstToken != 0 || s.Cooldowns != nil || s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("of one that nobody has tried: %+v", s)
	}
	l.SetCapacity(Capacity{Inflight: 1, Waiting: 5, Bytes: 1000, Wait: time.Minute})
	if !l.Begin() {
		t.Fatal("no place")
	}
	ended, queued := make(chan error), make(chan struct{})
	go func() { ended <- l.Wait(t.Context(), "alice", 100, func() { close(queued) }) }()
	<-queued
	l.worked("m", day)
	l.failed("m", 30*time.Second, true, day)
	for range failuresAllowed {
		l.failed("", 0, false, day)
	}
	l.failed("past", time.Second, false, day.Add(-time.Minute))
	s := l.State(day)
	if s.InFlight != 1 || s.Waiting != 1 || s.Capacity.Inflight != 1 || s.Capacity.Waiting != 5 || s.Attempts != 5+1 || s.Failures != 5 {
		t.Errorf("%+v", s)
	}
	if len(s.Cooldowns) != 2 || s.Cooldowns[0].Model != "" || s.Cooldowns[0].Limited || !s.Cooldowns[0].Until.After(day) ||
		s.Cooldowns[1] != (Cooldown{"m", day.Add(30 * time.Second), true}) {
		t.Errorf("left alone: %+v", s.Cooldowns)
	}
	l.End(time.Time{})
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheTimeToTheFirstTokenIsThatOfStreamsWhereThereAreAny(t *testing.T) {
	l := new(Live)
	l.NoteFirst(false, 20*time.Second)
	if got := l.State(day).FirstToken; got != 20*time.Second {
		t.Errorf("of an answer that came whole: %v", got)
	}
	l.NoteFirst(true, time.Second)
	if got := l.State(day).FirstToken; got != time.Second {
		t.Errorf("of a stream: %v", got)
	}
	l.NoteFirst(true, 2*time.Second)
	if got := l.State(day).FirstToken; got != 1100*time.Millisecond {
		t.Errorf("the last one counts a tenth: %v", got)
	}
}

func TestCredentialsThatRestAreCounted(t *testing.T) {
	keys := threeKeys(t)
	transport := &Transport{keys: keys}
	key, _ := keys.first(day)
	keys.refused(key, 401, 0, day, day)
	if total, resting := transport.Credentials(day); total != 3 || resting != 1 {
		t.Errorf("%d of %d rest", resting, total)
	}
	if _, resting := transport.Credentials(day.Add(firstRefuseRest)); resting != 0 {
		t.Errorf("%d rest after their rest", resting)
	}
}

func TestUpstreamsAreShownAsPeopleWriteThem(t *testing.T) {
	for config, want := range map[string][]string{
		``:                                {"http://10.0.0.7:8000", "http://model.example", "http://[::1]:8000", "unix//run/model.sock", "{env.MODEL}"},
		`"base_path":"/openai/v1"`:        {"http://10.0.0.7:8000/openai/v1", "http://model.example/openai/v1", "http://[::1]:8000/openai/v1", "unix//run/model.sock", "{env.MODEL}"},
		`"tls":{},"api":"anthropic"`:      {"https://10.0.0.7:8000", "https://model.example:80", "https://[::1]:8000", "unix//run/model.sock", "{env.MODEL}"},
		`"api":"echo"`:                    {},
		`"tls":{"server_name":"x.local"}`: {"https://10.0.0.7:8000", "https://model.example:80", "https://[::1]:8000", "unix//run/model.sock", "{env.MODEL}"},
	} {
		pool := reverseproxy.UpstreamPool{{Dial: "10.0.0.7:8000"}, {Dial: "model.example:80"}, {Dial: "[::1]:8000"}, {Dial: "unix//run/model.sock"}, {Dial: "{env.MODEL}"}}
		if got := provision(t, config).Upstreams(pool); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", config, got, want)
		}
	}
}

func TestTheCatalogKnowsWhenItCameLast(t *testing.T) {
	c := new(Catalog)
	if !c.Heard().IsZero() {
		t.Error("it has never come")
	}
	before := time.Now().Truncate(time.Second)
	c.Set(nil)
	c.heard.Store(1)
	c.Set(nil) // the same once more
	if c.Heard().Before(before) {
		t.Errorf("it came at %v, of %v", c.Heard(), before)
	}
	var none *Catalog
	if !none.Heard().IsZero() {
		t.Error("a catalog that is none has come")
	}
}
