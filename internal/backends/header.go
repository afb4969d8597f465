package backends

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// ForwardHeader returns the headers of a caller's request that go upstream:
// those of an allow-list, and those named in pass. It is called before
// reverse_proxy runs, so that the operator's header_up takes precedence. The
// values are shared with in.
//
// Headers that name accounts (openai-organization and the like) are not
// forwarded although their prefix is allowed: callers could choose who pays
// within the operator's account.
func ForwardHeader(in http.Header, endpoint wire.Endpoint, pass []string) http.Header {
	out := make(http.Header, usualHeaders)
	for name, values := range in {
		if forwarded(name, endpoint) {
			out[name] = values
		}
	}
	for _, name := range pass {
		name = http.CanonicalHeaderKey(name)
		if values, ok := in[name]; ok && !neverPassed(name) {
			out[name] = values
		}
	}
	// The headers that Connection names are for this hop only (RFC 9110, 7.6.1).
	// Content-Type stays: the gate parsed the body by it.
	for _, line := range in["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "Content-Type" {
				delete(out, name)
			}
		}
	}
	return out
}

// usualHeaders is the most headers that SDKs send and that go upstream: as many
// as fit into a map's first, small group.
const usualHeaders = 8

// forwarded reports whether a caller's header of this canonical name goes
// upstream by default.
func forwarded(name string, endpoint wire.Endpoint) bool {
	switch name {
	case "Content-Type":
		return endpoint.Method() == http.MethodPost
	case "Accept", "User-Agent", "Traceparent", "Tracestate", "Idempotency-Key", "Http-Referer", "X-Title":
		return true
	}
	return strings.HasPrefix(name, "X-Stainless-") ||
		wire.IsDialectHeader(name) && !namesAccount(name)
}

// namesAccount reports whether a provider's header names an account.
func namesAccount(name string) bool {
	for _, word := range []string{"Organization", "Project", "Workspace", "Account", "Admin"} {
		if strings.Contains(name, "-"+word) {
			return true
		}
	}
	return false
}

// neverPassed reports whether a header can't be passed in either direction, even
// if the config names it: credentials, cookies, redirects, and framing.
func neverPassed(name string) bool {
	switch name {
	case "Cookie", "Set-Cookie", "Proxy-Authorization", "Proxy-Authenticate", "Www-Authenticate", "Location",
		"Host", "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Alt-Svc", "Incremental",
		"Content-Length", "Content-Encoding", "Content-Type", "Accept-Encoding", "Expect", "Range", "Early-Data":
		return true
	}
	return slices.Contains(wire.Carriers, name)
}

// checkPassHeaders returns an error for names that pass_headers can't hold.
func checkPassHeaders(names []string) error {
	for _, name := range names {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("pass_headers: %q is no name of a header", name)
		}
		if neverPassed(http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("pass_headers: %s is never passed on; set what the backend needs with api_key or header_up", name)
		}
	}
	return nil
}

// stripped returns the header of a request to a backend without what
// reverse_proxy added about the caller and without hop-by-hop headers. pass
// holds canonical names. The values are shared with in. A credential in it was
// set by the operator's header_up, since ForwardHeader removed the caller's.
func stripped(in http.Header, pass []string) http.Header {
	out := make(http.Header, usualHeaders)
	for name, values := range in {
		switch name {
		case "Cookie", "Early-Data", "Te", "Trailer", "Transfer-Encoding", "Content-Length", "Expect",
			"Connection", "Proxy-Connection", "Keep-Alive", "Upgrade", "Proxy-Authorization", "Proxy-Authenticate", "Incremental":
			continue
		}
		if !aboutCaller(name) || slices.Contains(pass, name) {
			out[name] = values
		}
	}
	return out
}

// aboutCaller reports whether this canonical name is one that reverse_proxy sets
// to describe the caller.
func aboutCaller(name string) bool {
	return name == "Forwarded" || name == "Via" || strings.HasPrefix(name, "X-Forwarded-")
}
