// Command caddy is Caddy with its standard modules and pine-gate.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/amanycodes/pine-gate"
)

func main() {
	caddycmd.Main()
}
