// Package caddyfile parses the Caddyfile blocks of the gate into the types of the
// package config: [ParseApp] the global option, [ParseGate] and [ParseAdmin] the
// directives. Each kind of block has a file of its own; subdirectives.go holds what
// they have in common.
package caddyfile
