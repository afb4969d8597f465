package handlers

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// isUpgrade tells whether a request wants another protocol than HTTP on its
// connection: WebSocket, or an extended CONNECT. An offer of h2c is none; it is
// ignored, and no header of a connection goes upstream.
func isUpgrade(r *http.Request) bool {
	if r.Method == http.MethodConnect || r.Header.Get(":protocol") != "" {
		return true
	}
	if !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		return false
	}
	for _, line := range r.Header["Upgrade"] {
		for protocol := range strings.SplitSeq(line, ",") {
			if !strings.EqualFold(strings.TrimSpace(protocol), "h2c") {
				return true
			}
		}
	}
	return false
}
