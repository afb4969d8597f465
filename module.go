// Package pinegate is an inference gateway that is just Caddy.
package pinegate
