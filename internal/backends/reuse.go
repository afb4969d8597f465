package backends

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A model server closes connections that were idle for a while (uvicorn after 5
// seconds, llama.cpp's server after each stream), and may do so just as a request
// is written to one. Such a request was not looked at by anybody, so it is sent
// again on another connection.

// replayable is a header without a value, so it is not sent. Where it is there,
// net/http sends a POST again whose reused connection was closed before the first
// byte of an answer.
const replayable = "X-Idempotency-Key"

// maxStaleTries bounds how often a request is sent because of [Attempt.stale].
// Each try takes another connection, and the last of them may be as old.
const maxStaleTries = 4

// stale reports whether a round trip failed since the reused connection broke
// while the request was written to it. net/http sends again only what broke while
// it waited for the answer; a long body meets the closed connection earlier.
func (e *Attempt) stale(ctx context.Context, err error) bool {
	var op *net.OpError // "readfrom" is a write, too, that of a body
	return e.reused && e.HasBody && ctx.Err() == nil && errors.As(err, &op) && (op.Op == "write" || op.Op == "readfrom") && !op.Timeout()
}

// gotConn records that a request is about to be written to a connection. A
// connection that its server may be closing is closed here: net/http, which has
// written nothing yet, takes another.
func (t *Transport) gotConn(info httptrace.GotConnInfo, ex *Attempt) {
	if info.WasIdle && t.keepAlive.over(info.IdleTime) {
		_ = info.Conn.Close()
		return
	}
	ex.Dispatched, ex.reused = true, info.Reused
}

// keepAlive is how long the servers of a backend keep an idle connection, in
// nanoseconds. Zero: they have not said.
type keepAlive struct{ atomic.Int64 }

// heed takes the timeout of an answer's Keep-Alive header, of which no standard
// says more than RFC 2068 §19.7.1.1: `Keep-Alive: timeout=5, max=100`.
func (k *keepAlive) heed(res *http.Response) {
	line := res.Header.Get("Keep-Alive")
	if line == "" {
		return
	}
	for field := range strings.SplitSeq(line, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		if !strings.EqualFold(name, "timeout") {
			continue
		}
		if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
			k.Store(max(1, int64(seconds)*int64(time.Second)))
		}
		return
	}
}

// over reports whether a connection that was idle for so long may be closed by its
// server before a request gets there.
func (k *keepAlive) over(idle time.Duration) bool {
	timeout := time.Duration(k.Load())
	return timeout > 0 && idle >= timeout-timeout/4
}
