//go:build unix

package gatetest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// nextPort is where FreePort looks next.
var nextPort atomic.Int32

// FreePort returns a port to listen on later. It is below those that the system gives
// to whoever asks for any: a backend or a connection could take it first.
func FreePort() int {
	const lowest, count = 16384, 16384
	nextPort.CompareAndSwap(0, 1+rand.Int32N(count))
	for range count {
		port := lowest + int(nextPort.Add(1))%count
		if l, err := net.Listen("tcp", ":"+strconv.Itoa(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	panic("gatetest: no port is free")
}

// FreeAddress returns an address of loopback with a free port, as host:port.
func FreeAddress() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort())) }
