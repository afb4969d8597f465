package pinegate

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/control"
)

// AdminAPI is the gate's part of Caddy's own admin endpoint
// (`admin.api.pinegate`): the API of package control, and the path
// /pinegate/ready, which answers as /readyz does. Like the rest of that
// endpoint it requires no key: whoever reaches it could change the
// configuration as well.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.pinegate", New: func() caddy.Module { return new(AdminAPI) }}
}

// Routes returns the routes under /pinegate/.
func (*AdminAPI) Routes() []caddy.AdminRoute {
	api := control.New(
		func() (control.Gate, error) {
			app, err := runningApp()
			return controlPlane{app}, err
		},
		func(*http.Request) string { return "admin endpoint" },
		caddy.Log().Named("admin.api.pinegate"),
	)
	return []caddy.AdminRoute{
		{Pattern: control.ReadyPath, Handler: caddy.AdminHandlerFunc(adminReady)},
		{Pattern: control.Base, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			api.ServeHTTP(w, r)
			return nil
		})},
	}
}

// adminReady answers `GET /pinegate/ready` as /readyz does, for health checks
// without the gate's port, such as that of an image.
func adminReady(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	app, err := runningApp()
	if err != nil {
		w.Header().Set("Retry-After", "1")
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	shared := app.store.Shared()
	if !handlers.StoresReady(shared) {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("a store is unavailable")}
	}
	handlers.WriteReady(w, shared)
	return nil
}

// runningApp returns the app of the running configuration. Modules of the admin
// API are created before any app, and outlive all of them. The error is
// [control.ErrStarting] while the first configuration has not started.
func runningApp() (*App, error) {
	if app := running.newest(); app != nil {
		return app, nil
	}
	if caddy.ActiveContext().Context == nil {
		return nil, control.ErrStarting
	}
	return nil, errors.New("the running configuration has no pinegate")
}

var _ caddy.AdminRouter = (*AdminAPI)(nil)
