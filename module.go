// Package pinegate is an inference gateway that is just Caddy: an HTTP handler
// that puts an authenticated, rate-limited and metered gate in front of any
// model server. Caddy does what it is best at (TLS, HTTP, timeouts, proxying,
// reloads, logs); this module adds keys, limits that hold and exact usage.
//
// This package holds the Caddy modules and their life cycle. It turns the
// configuration (package config) into the plain Go of the packages limiter, usage,
// keys and wire, and passes that to the package handlers, which serves requests.
package pinegate

import (
	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/amanycodes/pine-gate/internal/backends" // the transport of every backend
	"github.com/amanycodes/pine-gate/internal/command"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(Handler))
	caddy.RegisterModule(new(AdminHandler))
	caddy.RegisterModule(new(AdminAPI))
	caddycmd.RegisterCommand(command.Command())
}
