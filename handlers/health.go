package handlers

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter/failover"
)

// serveHealth answers the probes. They need no key and reveal no details:
// healthz reports that the process serves, readyz that it accepts requests. A
// gate whose limits continue without the shared store is ready, and its answer
// contains that: to remove it would turn an outage of the limits into one of
// the service.
func (q *request) serveHealth() *wire.Error {
	if q.endpoint == wire.Ready && !ready(q.g.Shared, q.g.Starting, q.r) {
		return wire.Errorf(wire.KindOverloaded, "")
	}
	if q.endpoint == wire.Ready {
		WriteReady(q.w, q.g.Shared)
	} else {
		writeHealth(q.w, "ok")
	}
	return nil
}

// ready reports whether the gate accepts new requests: not before the first
// configuration has started (Caddy may open its listeners earlier), nor while
// the server shuts down, nor while the store is unavailable or full.
func ready(shared Shared, starting func() bool, r *http.Request) bool {
	if starting() {
		return false
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if down, _ := repl.GetString("http.shutting_down"); down == "true" {
			return false
		}
	}
	return StoresReady(shared)
}

// StoresReady reports whether the stores accept requests: usage can be
// recorded, and limits do not refuse all requests because their store is
// unavailable.
func StoresReady(shared Shared) bool {
	if l, ok := shared.Limiter().(*failover.Limiter); ok && l.Ready() != nil {
		return false
	}
	ledger, err := shared.Ledger()
	return err == nil && ledger.Ready() == nil
}

// WriteReady writes that a gate is ready, and whether its rate-limit store is
// unavailable.
func WriteReady(w http.ResponseWriter, shared Shared) {
	text := "ok"
	if l, ok := shared.Limiter().(*failover.Limiter); ok {
		if mode, away := l.Away(); away {
			text = "ok, but the rate-limit store is unavailable: " + mode.String()
		}
	}
	writeHealth(w, text)
}

func writeHealth(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(text + "\n")) // the probe may be gone
}
