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
// seconds, llama.cpp's server after each stream), and may do so just as a
// request is written to one. The server has not processed such a request, so it
// is sent again on another connection.

// replayable is a header that is set without a value, so it is not sent. If it
// is present, net/http retries a POST whose reused connection was closed before
// the first byte of a response.
const replayable = "X-Idempotency-Key"

// maxStaleTries bounds how often a request is sent because of [Attempt.stale].
// Each try uses another connection, and the last one may be as old.
const maxStaleTries = 4

// stale reports whether a round trip failed because the reused connection broke
// while the request was written to it. net/http retries only if the connection
// broke while it waited for the response; with a long body the write fails
// earlier.
func (e *Attempt) stale(ctx context.Context, err error) bool {
	var op *net.OpError // "readfrom" is the write of a body
	return e.reused && e.HasBody && ctx.Err() == nil && errors.As(err, &op) && (op.Op == "write" || op.Op == "readfrom") && !op.Timeout()
}

// gotConn records that a request is about to be written to a connection. It
// closes a connection that the server may be closing: net/http, which has
// written nothing yet, then uses another.
func (t *Transport) gotConn(info httptrace.GotConnInfo, ex *Attempt) {
	if info.WasIdle && t.keepAlive.over(info.IdleTime) {
		_ = info.Conn.Close()
		return
	}
	ex.Dispatched, ex.connected, ex.reused = true, true, info.Reused
}

// keepAlive is how long the servers of a backend keep an idle connection, in
// nanoseconds. Zero: unknown.
type keepAlive struct{ atomic.Int64 }

// heed stores the timeout of a response's Keep-Alive header, which is only
// specified by RFC 2068 §19.7.1.1: `Keep-Alive: timeout=5, max=100`.
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

// over reports whether the server may close a connection that was idle for that
// long before a request reaches it.
func (k *keepAlive) over(idle time.Duration) bool {
	timeout := time.Duration(k.Load())
	return timeout > 0 && idle >= timeout-timeout/4
}
