package handlers

import (
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/dashboard"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/throttle"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// Admin serves the control plane, on its own listener: its API, usage, health,
// metrics and the dashboard. Everything needs an admin key except health and
// the dashboard's files, which contain no data of the gate.
type Admin struct {
	Shared    Shared
	Starting  func() bool // see [ready]
	Keys      *keys.Store // holds admin keys only
	Throttle  *throttle.Throttle
	Logger    *zap.Logger
	Metrics   http.Handler // in Prometheus' format
	API       http.Handler // under APIBase
	APIBase   string
	Dashboard *dashboard.Dashboard
}

// ServeHTTP answers every request; it refuses unknown paths.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := newRequestID(time.Now())
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("X-Content-Type-Options", "nosniff") // it shares an origin with a page
	if err := a.serve(w, r); err != nil {
		a.Logger.Info("admin request refused", zap.String("request_id", id), zap.String("reason", err.Error()))
		err.Write(w, wire.DialectNamed(""), id)
	}
}

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) *wire.Error {
	if strings.HasPrefix(r.URL.Path, a.APIBase) {
		if err := authenticateAdmin(a.Keys, a.Throttle, r, time.Now()); err != nil {
			return err
		}
		a.API.ServeHTTP(w, r)
		return nil
	}
	page := a.Dashboard.Has(r.URL.Path)
	switch r.URL.Path {
	case "/healthz", "/readyz", "/metrics", "/v1/usage":
	default:
		if !page {
			return wire.Errorf(wire.KindUnknownURL, "")
		}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		err := wire.Errorf(wire.KindMethod, "")
		err.Allow = "GET, HEAD"
		return err
	}
	if page {
		a.Dashboard.ServeHTTP(w, r)
		return nil
	}
	switch r.URL.Path {
	case "/healthz":
		writeHealth(w, "ok")
		return nil
	case "/readyz":
		if !ready(a.Shared, a.Starting, r) {
			return wire.Errorf(wire.KindOverloaded, "")
		}
		WriteReady(w, a.Shared)
		return nil
	}
	if err := authenticateAdmin(a.Keys, a.Throttle, r, time.Now()); err != nil {
		return err
	}
	if r.URL.Path == "/metrics" {
		a.Metrics.ServeHTTP(w, r)
		return nil
	}
	return WriteUsage(a.Shared, a.Logger, w, r)
}
