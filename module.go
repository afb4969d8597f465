// Package pinegate is an inference gateway that is just Caddy: an HTTP handler
// that puts an authenticated, rate-limited and metered gate in front of any
// model server. Caddy does what it is best at (TLS, HTTP, timeouts, proxying,
// reloads, logs); this module adds keys, limits that hold and exact usage.
//
// This package holds what Caddy sees: the modules, their configuration and
// their life cycle. It turns configuration into the plain Go of the packages
// limiter, usage, keys and wire, and hands that to package handlers, which
// stands in the way of a request.
package pinegate

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	// The transport that every backend's reverse_proxy goes through.
	_ "github.com/amanycodes/pine-gate/internal/backends"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(Handler))
	caddy.RegisterModule(new(AdminHandler))
	caddy.RegisterModule(new(AdminAPI))
	httpcaddyfile.RegisterGlobalOption("pinegate", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("pinegate", parseHandler)
	httpcaddyfile.RegisterHandlerDirective("pinegate_admin", parseAdminHandler)
	httpcaddyfile.RegisterDirectiveOrder("pinegate", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterDirectiveOrder("pinegate_admin", httpcaddyfile.Before, "reverse_proxy")
}
