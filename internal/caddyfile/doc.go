// Package caddyfile parses the gate's Caddyfile blocks into the types of the
// package config: [ParseApp] parses the global option, [ParseGate] and
// [ParseAdmin] parse the directives. Each kind of block has its own file;
// subdirectives.go holds what they have in common.
package caddyfile
