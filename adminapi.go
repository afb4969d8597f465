package pinegate

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/handlers"
)

// AdminAPI is the gate's part of Caddy's own admin endpoint
// (`admin.api.pinegate`): `GET /pinegate/usage` answers as `/v1/usage` does, and
// `GET /pinegate/ready` as `/readyz`.
// Like all of that endpoint it asks for no key: whoever reaches it could as
// well change the configuration.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.pinegate", New: func() caddy.Module { return new(AdminAPI) }}
}

// Routes returns the routes under /pinegate/.
func (*AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: usageRoute, Handler: caddy.AdminHandlerFunc(adminUsage)},
		{Pattern: readyRoute, Handler: caddy.AdminHandlerFunc(adminReady)},
	}
}

const usageRoute = "/pinegate/usage"

func adminUsage(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	app, err := runningApp()
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	if refusal := handlers.WriteUsage(app.state, app.logger, w, r); refusal != nil {
		err := errors.New(refusal.Message)
		switch {
		case refusal.Param != "":
			err = fmt.Errorf("%s %w", refusal.Param, err)
		case refusal.Message == "":
			err = refusal
		}
		return caddy.APIError{HTTPStatus: refusal.StatusCode(), Err: err}
	}
	return nil
}

// runningApp finds the app of the configuration that runs now. Modules of the
// admin API are made before any app is, and outlive them.
func runningApp() (*App, error) {
	module, err := caddy.ActiveContext().AppIfConfigured("pinegate")
	if err != nil {
		return nil, errors.New("the running configuration has no pinegate")
	}
	app, ok := module.(*App)
	if !ok || app.state == nil {
		return nil, errors.New("the pinegate app is not running")
	}
	return app, nil
}

var _ caddy.AdminRouter = (*AdminAPI)(nil)
