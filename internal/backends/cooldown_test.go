package backends

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// day is when the tests of cooldowns play.
var day = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func later(seconds float64) time.Time { return day.Add(time.Duration(seconds * float64(time.Second))) }

func TestABackendIsLeftAloneForAsLongAsItAsks(t *testing.T) {
	l := new(Live)
	if rest := l.failed("m", 30*time.Second, true, later(0)); rest != 30*time.Second {
		t.Errorf("left alone for %v", rest)
	}
	for seconds, want := range map[float64]Cooling{
		0:    {Wait: 30 * time.Second, Limited: true},
		29:   {Wait: time.Second, Limited: true},
		30:   {},
		3000: {},
	} {
		if got := l.Cooling("m", later(seconds)); got != want {
			t.Errorf("after %v s: %+v, want %+v", seconds, got, want)
		}
	}
	if got := l.Cooling("other", later(1)); got != (Cooling{}) {
		t.Errorf("another model: %+v", got)
	}
	l.worked("m", later(1)) // was sent before
	if got := l.Cooling("m", later(2)); got.Wait != 28*time.Second {
		t.Errorf("an answer of a request from before: %+v", got)
	}
	if rest := l.failed("m", time.Minute, true, later(10)); rest != 0 {
		t.Errorf("told of twice: %v", rest)
	}
	if got := l.Cooling("m", later(10)); got.Wait != time.Minute {
		t.Errorf("another time: %+v", got)
	}
	if rest := l.failed("x", 24*time.Hour, true, later(0)); rest != maxAsked {
		t.Errorf("it asked for a day and is left alone for %v", rest)
	}
}

func TestABackendThatFailsAgainAndAgainRestsLongerAndLonger(t *testing.T) {
	for _, model := range []string{"m", ""} {
		l := new(Live)
		now := day
		for i := range failuresAllowed - 1 {
			if rest := l.failed(model, 0, false, now); rest != 0 {
				t.Fatalf("failure %d: a rest of %v", i, rest)
			}
		}
		l.worked("m", now) // they were not in a row
		for range failuresAllowed - 1 {
			l.failed(model, 0, false, now)
		}
		most := firstRest
		for i := range 10 {
			rest := l.failed(model, 0, false, now)
			if rest > most || rest <= most/2-1 {
				t.Errorf("rest %d takes %v, want up to a half less than %v", i, rest, most)
			}
			if got := l.Cooling("m", now); got.Wait != rest || got.Limited || got.Whole != (model == "") {
				t.Errorf("rest %d: %+v", i, got)
			}
			if again := l.failed(model, 0, false, now.Add(rest/2)); again != 0 {
				t.Errorf("a request from before makes it longer, by %v", again)
			}
			now = now.Add(rest)
			if got := l.Cooling("m", now); got.Wait != 0 {
				t.Errorf("rest %d has no end: %+v", i, got)
			}
			most = min(2*most, lastRest)
		}
		l.worked("m", now)
		if l.failed(model, 0, false, now) != 0 {
			t.Error("one failure after a success is taken for one more in a row")
		}
	}
}

func TestARefusalForALimitWithoutATimeIsARestAtOnce(t *testing.T) {
	l := new(Live)
	if rest := l.failed("m", 0, true, day); rest <= 0 || rest > firstRest {
		t.Errorf("a rest of %v", rest)
	}
	if got := l.Cooling("m", day); !got.Limited {
		t.Errorf("%+v", got)
	}
}

func TestOneRequestFindsOutWhetherABackendWorksAgain(t *testing.T) {
	l := new(Live)
	if l.Probe("m", day) {
		t.Error("nothing has failed, and somebody finds out what")
	}
	l.failed("m", time.Second, true, day)
	after := later(2)
	if got := l.Cooling("m", after); got != (Cooling{}) {
		t.Fatalf("%+v", got)
	}
	if !l.Probe("m", after) {
		t.Error("the first one does not find out")
	}
	if got := l.Cooling("m", after); !got.Last || got.Wait != 0 {
		t.Errorf("the others do not go elsewhere: %+v", got)
	}
	if l.Probe("m", after) {
		t.Error("the second one finds out, too")
	}
	if l.EndProbe("m"); l.Cooling("m", after).Last || !l.Probe("m", after) {
		t.Error("after one whose caller left nobody finds out")
	}
	if late := after.Add(probeLasts); l.Cooling("m", late).Last || !l.Probe("m", late) {
		t.Error("all wait for one that takes long")
	}
	l.worked("m", after)
	if got := l.Cooling("m", after); got != (Cooling{}) || l.Probe("m", after) {
		t.Errorf("it works, and %+v", got)
	}
	if l.cooldowns.some.Load() || len(l.cooldowns.each) > 0 {
		t.Error("something is kept of a backend that works")
	}
}

func TestALimitThatIsSpentMakesABackendTheLastOne(t *testing.T) {
	l := new(Live)
	l.spent("m", time.Minute, day)
	if got := l.Cooling("m", later(59)); got != (Cooling{Last: true}) {
		t.Errorf("%+v", got)
	}
	if got := l.Cooling("m", later(60)); got != (Cooling{}) {
		t.Errorf("%+v", got)
	}
}

func TestModelsThatCallersMakeUpAreForgotten(t *testing.T) {
	l := new(Live)
	l.failed("", time.Minute, false, day)
	for i := range 2 * cooldownsKept {
		l.failed(fmt.Sprint(i), time.Minute, true, day)
	}
	if n := len(l.cooldowns.each); n > cooldownsKept {
		t.Errorf("%d are kept", n)
	}
	if !l.Cooling("m", day).Whole {
		t.Error("the backend itself is forgotten")
	}
}

func TestWhatIsLeftOfALimit(t *testing.T) {
	for _, c := range []struct {
		header []string
		any    time.Duration // of a refusal
		want   time.Duration // of an answer
	}{
		{nil, 0, 0},
		{[]string{"X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 6m0s"}, 6 * time.Minute, 6 * time.Minute},
		{[]string{"X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 120ms"}, 120 * time.Millisecond, 120 * time.Millisecond},
		{[]string{"X-Ratelimit-Remaining-Requests: 5", "X-Ratelimit-Reset-Requests: 1s", "X-Ratelimit-Remaining-Tokens: 9", "X-Ratelimit-Reset-Tokens: 3s"}, time.Second, 0},
		{[]string{"X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 1s", "X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: 3s"}, 3 * time.Second, 3 * time.Second},
		{[]string{"Anthropic-Ratelimit-Input-Tokens-Remaining: 0", "Anthropic-Ratelimit-Input-Tokens-Reset: 2026-11-22T12:00:20Z"}, 20 * time.Second, 20 * time.Second},
		{[]string{"Anthropic-Ratelimit-Requests-Remaining: 0", "Anthropic-Ratelimit-Requests-Reset: 2026-11-22T11:00:20Z"}, 0, 0},
		{[]string{"X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: 1795348830000"}, 30 * time.Second, 30 * time.Second},
		{[]string{"X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: 1795348830"}, 30 * time.Second, 30 * time.Second},
		{[]string{"X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: 30"}, 30 * time.Second, 30 * time.Second},
		{[]string{"X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: 1e400"}, 0, 0},
		{[]string{"X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: soon"}, 0, 0},
		{[]string{"X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: -5s"}, 0, 0},
		{[]string{"X-Ratelimit-Remaining-Requests: 0"}, 0, 0},
	} {
		h := header(c.header...)
		if got := limitReset(h, true, day); got != c.any {
			t.Errorf("%v after a refusal: %v, want %v", c.header, got, c.any)
		}
		if got := limitReset(h, false, day); got != c.want {
			t.Errorf("%v: %v, want %v", c.header, got, c.want)
		}
	}
}

func TestWhatAnErrorSaysAboutABackend(t *testing.T) {
	ended := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		return ctx
	}
	slow := &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want verdict
	}{
		"the caller left":      {ended(nil), context.Canceled, verdictNone},
		"the gate ended it":    {ended(errors.New("max_stream")), context.Canceled, verdictNone},
		"it took too long":     {ended(slow), context.Canceled, verdictModel},
		"no header in time":    {t.Context(), slow, verdictModel},
		"no connection at all": {t.Context(), reverseproxy.NewDialError(slow), verdictBackend},
		"a reset":              {t.Context(), errors.New("connection reset by peer"), verdictBackend},
	} {
		if got := verdictOfError(c.ctx, c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for status, want := range map[int]verdict{
		200: verdictWorks, 400: verdictWorks, 404: verdictWorks, 422: verdictWorks, 401: verdictBackend, 402: verdictBackend,
		403: verdictModel, 429: verdictModel, 500: verdictModel, 503: verdictModel, 529: verdictModel, 302: verdictModel, 101: verdictModel,
	} {
		if got := verdictOf(status); got != want {
			t.Errorf("%d: %d, want %d", status, got, want)
		}
	}
}

// What a backend answers reaches what is known of it, whether the caller is told
// or not.
func TestAnswersDecideWhetherABackendIsLeftAlone(t *testing.T) {
	for _, c := range []struct {
		status       int
		header       []string
		model, whole time.Duration // for how long they are left alone, at least
		last         bool
	}{
		{status: 429, header: []string{"Retry-After: 60"}, model: 50 * time.Second},
		{status: 429, header: []string{"Retry-After-Ms: 60000"}, model: 50 * time.Second},
		{status: 429, header: []string{"X-Ratelimit-Reset-Tokens: 1m0s"}, model: 50 * time.Second},
		{status: 503, header: []string{"Retry-After: 60"}, model: 50 * time.Second},
		{status: 401, header: []string{"Retry-After: 60"}, model: 50 * time.Second, whole: 50 * time.Second},
		{status: 400, header: []string{"Retry-After: 60"}},
		{status: 500},
		{status: 200, header: []string{"X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 1m0s"}, last: true},
		{status: 200, header: []string{"X-Ratelimit-Remaining-Requests: 1", "X-Ratelimit-Reset-Requests: 1m0s"}},
	} {
		upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			for name, values := range header(c.header...) {
				w.Header()[name] = values
			}
			w.WriteHeader(c.status)
		})
		live := new(Live)
		p := newProxied(t, keyed, "", upstream.URL)
		p.prepare = func(ex *Exchange, r *http.Request) *http.Request {
			ex.Live, ex.Model, ex.OwnLimits = live, "m", true
			return r
		}
		_, _, out := p.do("POST", "/v1/chat/completions", `{}`)
		got, other := live.Cooling("m", time.Now()), live.Cooling("other", time.Now())
		if got.Wait < c.model || (got.Wait > 0) != (c.model > 0) || other.Wait < c.whole || (other.Wait > 0) != (c.whole > 0) || got.Last != c.last {
			t.Errorf("%d %v: %+v, another model %+v", c.status, c.header, got, other)
		}
		if (out.exchange.Cooled > 0) != (c.model > 0) {
			t.Errorf("%d %v: the exchange tells %v", c.status, c.header, out.exchange.Cooled)
		}
	}
}
