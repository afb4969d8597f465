package backends

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// verdict is what a response, or its absence, shows about a backend.
type verdict uint8

const (
	verdictNone    verdict = iota // nothing: the caller left, the gate cancelled the attempt, or the error is about the request
	verdictWorks                  // the backend works, even if it rejected the caller's request
	verdictModel                  // the model fails, perhaps because of the request; others may not
	verdictAccount                // the backend refuses the gate's account, perhaps because of the request
	verdictBackend                // the backend fails as a whole, which no request can cause
)

// verdictOf returns what a status shows about a backend, whose error is about s.
func verdictOf(status int, s subject) verdict {
	switch {
	case status == http.StatusUnauthorized:
		return verdictBackend // it refuses the gate's credential
	case s != aboutBackend && (FallsBack(status) || status == http.StatusForbidden):
		return verdictNone
	case status == http.StatusPaymentRequired:
		return verdictAccount
	case FallsBack(status), status < 200, status/100 == 3: // 403, too: permissions may differ by model
		return verdictModel
	}
	return verdictWorks
}

// judge records in e.State what an attempt shows about its backend. It is called
// as soon as that is known, long before the end of a streamed response. asked is
// how long the backend asked to wait.
func (e *Attempt) judge(v verdict, status int, asked time.Duration, now time.Time) {
	if e.State == nil {
		return
	}
	failure := health.Failure{Model: e.Model, Key: e.Key, Asked: asked, Limited: status == http.StatusTooManyRequests}
	switch v {
	case verdictNone:
		return
	case verdictWorks:
		e.State.Succeeded(e.Model, e.Key, e.sent, now)
		return
	case verdictAccount:
		failure.Model = ""
	case verdictBackend:
		failure.Model, failure.Key = "", ""
	}
	e.Backoff = e.State.Failed(failure, now)
}

// judgeAnswer calls judge for a response with header h, whose error is about s, and
// records exhausted rate limits.
func (e *Attempt) judgeAnswer(status int, s subject, h http.Header, asked time.Duration, now time.Time) {
	if e.State == nil {
		return
	}
	if asked == 0 && status == http.StatusTooManyRequests {
		asked = limitReset(h, true, now)
	}
	e.judge(verdictOf(status, s), status, asked, now)
	if status < 300 {
		if wait := limitReset(h, false, now); wait > 0 {
			e.State.Exhausted(e.Model, wait, now)
		}
	}
}

// verdictOfError returns what a round trip without a response shows about a
// backend. ctx is the attempt's. Without a connection (DNS, a refused one, TLS)
// the request can't be the cause; a reset or silence may be what it causes.
func verdictOfError(ctx context.Context, connected bool) verdict {
	switch {
	case ctx.Err() != nil && !isTimeout(context.Cause(ctx)):
		return verdictNone
	case connected:
		return verdictModel
	}
	return verdictBackend
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// limitHeaders holds the headers in which APIs report what is left of their
// limits, and when the limits reset.
var limitHeaders = func() (all []wire.LimitHeader) {
	for _, d := range wire.Dialects() {
		for _, l := range d.Limits {
			if l.Limit != "" {
				all = append(all, l)
			}
		}
	}
	return append(all, wire.LimitHeader{Remaining: "X-Ratelimit-Remaining", Reset: "X-Ratelimit-Reset"})
}()

// limitReset returns the time until all limits that the backend reports as
// exhausted have been reset. If none is exhausted it returns 0 or, if any is
// set, the earliest reset: the request was refused by one of the limits.
func limitReset(h http.Header, any bool, now time.Time) time.Duration {
	var last, first time.Duration
	for _, name := range limitHeaders {
		reset := h[name.Reset]
		if len(reset) == 0 {
			continue
		}
		wait, ok := parseReset(reset[0], now)
		if !ok {
			continue
		}
		if first == 0 || wait < first {
			first = wait
		}
		if remaining := h[name.Remaining]; len(remaining) > 0 && strings.TrimSpace(remaining[0]) == "0" {
			last = max(last, wait)
		}
	}
	if last == 0 && any {
		return first
	}
	return last
}

// parseReset parses the time until a limit is reset in the formats of the APIs:
// OpenAI 6m0s and 12ms, Anthropic an RFC 3339 date, others seconds, or seconds
// or milliseconds since 1970.
func parseReset(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	wait, err := time.ParseDuration(text)
	if err != nil {
		if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n < 1e15 {
			switch {
			case n > 1e11:
				wait = time.UnixMilli(int64(n)).Sub(now)
			case n > 1e8:
				wait = time.Unix(int64(n), 0).Sub(now)
			default:
				wait = time.Duration(n * float64(time.Second))
			}
		} else if at, err := time.Parse(time.RFC3339, text); err == nil {
			wait = at.Sub(now)
		} else {
			return 0, false
		}
	}
	return min(wait, maxRetryAfter), wait > 0
}
