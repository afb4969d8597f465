package limiter

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func refusalOf(kind ScopeKind, words string, used, requested int64, retry time.Duration) *Refusal {
	l, err := ParseLimit(strings.Fields(words))
	if err != nil {
		panic(err)
	}
	return &Refusal{Rule: NewRule(kind, "secret-id", l), Limit: l.Amount, Used: used, Requested: requested,
		Remaining: max(l.Amount-used, 0), RetryAfter: retry}
}

func TestMessage(t *testing.T) {
	held := func(r *Refusal) *Refusal { r.Reserved = true; return r }
	large := func(r *Refusal) *Refusal { r.TooLarge = true; return r }
	for _, c := range []struct {
		refusal *Refusal
		want    string
	}{
		{refusalOf(ScopeKey, "30k tokens/minute", 28000, 5000, 6*time.Second),
			"Rate limit reached for m on tokens per min (TPM): Limit 30000, Used 28000, Requested 5000. Please try again in 6s."},
		{refusalOf(ScopeKey, "60 requests/m", 60, 1, 850*time.Millisecond),
			"Rate limit reached for m on requests per min (RPM): Limit 60, Used 60, Requested 1. Please try again in 850ms."},
		{refusalOf(ScopeTeam, "5 requests/s", 5, 1, 1200*time.Millisecond),
			"Rate limit reached for m on requests per sec (RPS): Limit 5, Used 5, Requested 1. Please try again in 1.2s. This limit is shared by your team."},
		{refusalOf(ScopeModel, "5 input_tokens/h", 5, 1, 90*time.Minute),
			"Rate limit reached for m on input tokens per hour (ITPH): Limit 5, Used 5, Requested 1. Please try again in 5400s. This limit of this model is shared by all callers."},
		{refusalOf(ScopeBackend, "5 output_tokens/m", 5, 1, time.Second),
			"Rate limit reached for m on output tokens per min (OTPM): the backend capacity, shared by all callers, is used up. Please try again in 1s."},
		{large(refusalOf(ScopeKey, "30k tokens/m", 0, 40000, 0)),
			"Request too large for m on tokens per min (TPM): Limit 30000, Requested 40000. Send a shorter input."},
		{large(refusalOf(ScopeTeam, "1 usd/d", 0, 1_500_000_000, 0)),
			"Request too large for m on daily budget: Limit $1, Requested $1.5. Send a shorter input. This limit is shared by your team."},
		{large(refusalOf(ScopeBackend, "30k tokens/m", 0, 40000, 0)),
			"Request too large for m on tokens per min (TPM): it is more than the backend capacity. Send a shorter input."},
		{refusalOf(ScopeKey, "8 concurrent", 8, 1, time.Second),
			"Too many requests in flight for m: Limit 8 for this key. Please try again in 1s."},
		{refusalOf(ScopeTeam, "8 concurrent", 8, 1, time.Second),
			"Too many requests in flight for m: Limit 8 for your team. Please try again in 1s."},
		{refusalOf(ScopeBackend, "8 concurrent", 8, 1, time.Second),
			"Too many requests in flight for m: the backend capacity, shared by all callers, is in use. Please try again in 1s."},
		{refusalOf(ScopeKey, "10M tokens/mo", 9999999, 50, 100*time.Hour),
			"You exceeded your monthly token quota: Limit 10000000, Used 9999999, Requested 50. It renews on the first of next month at 00:00 UTC."},
		{refusalOf(ScopeKey, "25 usd/d", 25_000_000_000, 1_000_000, time.Hour),
			"You exceeded your daily budget: Limit $25, Used $25, Requested $0.001. It renews at 00:00 UTC."},
		{refusalOf(ScopeTeam, "9 requests/w", 9, 1, time.Hour),
			"You exceeded your team's weekly request quota: Limit 9, Used 9, Requested 1. It renews on Monday at 00:00 UTC."},
		{refusalOf(ScopeModel, "9 output_tokens/w", 9, 1, time.Hour),
			"You exceeded the weekly output token quota of this model, shared by all callers: Limit 9, Used 9, Requested 1. It renews on Monday at 00:00 UTC."},
		{refusalOf(ScopeBackend, "9 input_tokens/w", 9, 1, time.Hour),
			"The weekly input token quota of the backend capacity for m, shared by all callers, is used up. It renews on Monday at 00:00 UTC."},
		{held(refusalOf(ScopeKey, "9 tokens/d", 9, 1, time.Second)),
			"What is left of the daily token quota of this key is held by requests in flight: Limit 9, Used 9, Requested 1. Please try again in 1s."},
		{held(refusalOf(ScopeBackend, "9 tokens/d", 9, 1, time.Second)),
			"The daily token quota of the backend capacity for m, shared by all callers, is held by requests in flight. Please try again in 1s."},
	} {
		got := c.refusal.Message("m")
		if got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
		if strings.Contains(got, "secret-id") {
			t.Errorf("%q names the id", got)
		}
		if err := c.refusal.Error(); !strings.Contains(err, `"secret-id"`) || !strings.Contains(err, c.refusal.Rule.Limit.String()) {
			t.Errorf("the log's %q does not name the rule", err)
		}
	}
}

func TestMessageWritesTheTimeAsClientsReadIt(t *testing.T) {
	// The pattern of Codex.
	pattern := regexp.MustCompile(`(?i)try again in\s*(\d+(?:\.\d+)?)\s*(s|ms|seconds?)`)
	for _, d := range []time.Duration{0, 1, time.Microsecond, time.Millisecond, 999*time.Millisecond + 1, time.Second,
		1001 * time.Millisecond, 61 * time.Second, 90*time.Minute + 1, 24 * time.Hour, 1<<63 - 1} {
		message := refusalOf(ScopeTeam, "60 requests/m", 60, 1, d).Message("m")
		found := pattern.FindStringSubmatch(message)
		if found == nil {
			t.Errorf("%v: no time in %q", d, message)
			continue
		}
		n, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		unit := map[string]time.Duration{"s": time.Second, "ms": time.Millisecond}[found[2]]
		if got := n * float64(unit); got < float64(d)*(1-1e-9) || got > float64(d)*(1+1e-9)+float64(time.Millisecond) {
			t.Errorf("%v is written as %s", d, found[0])
		}
	}
}
