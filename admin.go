package pinegate

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/dashboard"
	"github.com/amanycodes/pine-gate/internal/keys"
)

// AdminHandler is the control plane (`http.handlers.pinegate_admin`): usage,
// health and metrics for a private listener. It refuses to be provisioned
// without an admin key.
type AdminHandler struct {
	config.Admin
	adminState
}

// adminState holds what an AdminHandler has besides its configuration.
type adminState struct {
	admin *handlers.Admin
	keys  *keys.Store
}

// CaddyModule returns the Caddy module information.
func (*AdminHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.pinegate_admin", New: func() caddy.Module { return new(AdminHandler) }}
}

// Provision sets up the control plane. It returns an error if there is no admin
// key.
func (h *AdminHandler) Provision(ctx caddy.Context) error {
	if len(h.AdminKeys) == 0 {
		return errors.New("pinegate_admin needs an admin_key; it is never open")
	}
	app, err := appFrom(ctx)
	if err != nil {
		return err
	}
	h.keys, err = newKeyStore(ctx.Logger(), app, keys.StoreConfig{Admin: h.AdminKeys, AllowEmpty: true})
	if err != nil {
		return err
	}
	limited, err := throttleFor(nil)
	if err != nil {
		return err
	}
	pages, err := dashboard.New()
	if err != nil {
		return err
	}
	h.admin = &handlers.Admin{
		Shared:    app.store.Shared(),
		Starting:  running.starting,
		Keys:      h.keys,
		Throttle:  limited,
		Logger:    ctx.Logger(),
		Metrics:   promhttp.HandlerFor(ctx.GetMetricsRegistry(), promhttp.HandlerOpts{}),
		Dashboard: pages,
		APIBase:   control.Base,
		API: control.New(
			func() (control.Gate, error) {
				if running.starting() {
					return nil, control.ErrStarting
				}
				return controlPlane{app}, nil
			},
			func(r *http.Request) string { return "admin key from " + handlers.ClientAddr(r).String() },
			ctx.Logger(),
		),
	}
	return nil
}

// ServeHTTP answers every request; it never calls next.
func (h *AdminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.admin.ServeHTTP(w, r)
	return nil
}

// Cleanup stops watching the files that the admin keys come from.
func (h *AdminHandler) Cleanup() error {
	if h.keys != nil {
		h.keys.Close()
	}
	return nil
}

var (
	_ caddy.Provisioner           = (*AdminHandler)(nil)
	_ caddy.CleanerUpper          = (*AdminHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*AdminHandler)(nil)
)
