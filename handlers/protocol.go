package handlers

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// userProfile is the header that attributes a request of Anthropic's API to a
// profile that the account stores.
const userProfile = "Anthropic-User-Profile-Id"

// isUpgrade reports whether a request asks for another protocol than HTTP on
// its connection: WebSocket, or an extended CONNECT. An offer of h2c does not
// count: it is ignored, and connection headers are not forwarded.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodConnect || r.Header.Get(":protocol") != "" || offered(r, isNotH2C)
}

// isWebSocket reports whether a request opens a WebSocket over HTTP/1.1.
func isWebSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && offered(r, func(protocol string) bool { return strings.EqualFold(protocol, "websocket") })
}

func isNotH2C(protocol string) bool { return !strings.EqualFold(protocol, "h2c") }

// offered reports whether a request offers to upgrade to a protocol that matches.
func offered(r *http.Request, matches func(protocol string) bool) bool {
	if !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		return false
	}
	for _, line := range r.Header["Upgrade"] {
		for protocol := range strings.SplitSeq(line, ",") {
			if matches(strings.TrimSpace(protocol)) {
				return true
			}
		}
	}
	return false
}
