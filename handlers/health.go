package handlers

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/wire"
)

// serveHealth answers the probes. They need no key and tell nothing but yes or
// no: healthz that the process serves, readyz that it may be sent requests.
func (c *call) serveHealth() *wire.Error {
	if c.endpoint == wire.Ready && !ready(c.g.Shared, c.r) {
		err := wire.Errorf(wire.KindOverloaded, "")
		return err
	}
	writeHealth(c.w)
	return nil
}

// ready tells whether new requests are welcome: not while the server shuts
// down, nor while the store is away or full.
func ready(shared Shared, r *http.Request) bool {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if down, _ := repl.GetString("http.shutting_down"); down == "true" {
			return false
		}
	}
	ledger, err := shared.Ledger()
	return err == nil && ledger.Ready() == nil
}

func writeHealth(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok\n")) // a probe that left needs no answer
}
