//go:build contention

package main

import "runtime"

// No Caddy profiles locks and waits by itself (docs/performance.md).
func init() {
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(1000) // ns
}
