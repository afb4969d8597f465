package backends

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
)

// day is the current time in tests that pass a clock.
var day = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestWhatIsLeftOfALimit(t *testing.T) {
	for _, c := range []struct {
		header []string
		any    time.Duration // with any set, as for a refusal
		want   time.Duration // as for a success
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
		ctx       context.Context
		connected bool
		want      verdict
	}{
		"the caller left":       {ended(nil), true, verdictNone},
		"the gate ended it":     {ended(errors.New("max_stream")), true, verdictNone},
		"it took too long":      {ended(slow), true, verdictModel},
		"no connection in time": {ended(slow), false, verdictBackend},
		"no connection at all":  {t.Context(), false, verdictBackend},
		"a reset":               {t.Context(), true, verdictModel},
	} {
		if got := verdictOfError(c.ctx, c.connected); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for status, want := range map[int]verdict{
		200: verdictWorks, 400: verdictWorks, 404: verdictWorks, 410: verdictWorks, 422: verdictWorks, 451: verdictWorks,
		401: verdictBackend, 402: verdictAccount, 403: verdictModel, 408: verdictModel, 425: verdictModel, 429: verdictModel, 498: verdictModel,
		500: verdictModel, 503: verdictModel, 524: verdictModel, 529: verdictModel, 302: verdictModel, 101: verdictModel,
	} {
		if got := verdictOf(status, aboutBackend); got != want {
			t.Errorf("%d: %d, want %d", status, got, want)
		}
	}
	for status, want := range map[int]verdict{401: verdictBackend, 402: verdictNone, 403: verdictNone, 429: verdictNone, 500: verdictNone, 400: verdictWorks} {
		if got := verdictOf(status, aboutRequest); got != want {
			t.Errorf("%d about the request: %d, want %d", status, got, want)
		}
	}
}

// Every response updates the backend's state, even if it is not passed on to the
// caller.
func TestAnswersDecideWhetherABackendIsLeftAlone(t *testing.T) {
	for _, c := range []struct {
		status       int
		header       []string
		model, whole time.Duration // the least backoff
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
			_, _ = io.WriteString(w, `{}`)
		})
		live := new(health.BackendState)
		p := newProxied(t, keyed, "", upstream.URL)
		p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
			ex.State, ex.Model, ex.OwnLimits = live, "m", true
			return r
		}
		_, _, out := p.do("POST", "/v1/chat/completions", `{}`)
		got, other := live.Backoff("m", "alice", time.Now()), live.Backoff("other", "alice", time.Now())
		if got.Wait < c.model || (got.Wait > 0) != (c.model > 0) || other.Wait < c.whole || (other.Wait > 0) != (c.whole > 0) || got.Last != c.last {
			t.Errorf("%d %v: %+v, another model %+v", c.status, c.header, got, other)
		}
		if (out.attempt.Backoff > 0) != (c.model > 0) {
			t.Errorf("%d %v: the attempt tells %v", c.status, c.header, out.attempt.Backoff)
		}
	}
}
