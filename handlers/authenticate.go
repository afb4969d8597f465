package handlers

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/throttle"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// authenticate finds the caller's key and checks that it may be used here and
// now. Unknown, malformed, expired and disabled keys get the same answer: a
// different one would show which secrets exist. While runtime keys cannot be
// looked up, no key is refused as unknown: a client that gets a 401 gives up
// for good.
func (q *request) authenticate() *wire.Error {
	ring := q.g.Keys.Current()
	err := identify(q.g.Throttle, q.r, func(h keys.Hash) *wire.Error {
		key := ring.Lookup(h)
		switch {
		case key == nil && !q.g.Keys.Known(), key != nil && !q.g.Keys.Trusts(key):
			return wire.Errorf(wire.KindOverloaded, "")
		case key == nil, key.Disabled, key.Expired(q.start):
			return wire.Errorf(wire.KindInvalidKey, "")
		}
		q.key = key
		return nil
	})
	if err != nil {
		return err
	}
	q.warnForwarded()
	q.grants = q.g.Policy.grants(ring, q.key)
	if !q.key.AllowsIP(ClientAddr(q.r)) {
		return wire.Errorf(wire.KindIPForbidden, "")
	}
	if group := q.endpoint.Group(); group != "" && !q.key.AllowsEndpoint(group) {
		return wire.Errorf(wire.KindEndpointForbidden, "")
	}
	return nil
}

// authenticateAdmin accepts admin keys only. A valid caller's key is refused as
// not allowed, anything else as unknown, as on all endpoints.
func authenticateAdmin(store *keys.Store, t *throttle.Throttle, r *http.Request, now time.Time) *wire.Error {
	ring := store.Current()
	if !ring.HasAdmin() {
		return wire.Errorf(wire.KindUnknownURL, "")
	}
	return identify(t, r, func(h keys.Hash) *wire.Error {
		if ring.Admin(h) {
			return nil
		}
		if key := ring.Lookup(h); key != nil && !key.Disabled && !key.Expired(now) {
			return wire.Errorf(wire.KindAdminOnly, "")
		}
		return wire.Errorf(wire.KindInvalidKey, "")
	})
}

// identify checks the throttle, takes the credential from the request and
// passes its hash to judge. An address that has used up its failures is refused
// unread, except with a key that was accepted from there within the hour: one
// bad client must not lock out the others behind its address.
func identify(t *throttle.Throttle, r *http.Request, judge func(keys.Hash) *wire.Error) *wire.Error {
	addr := ClientAddr(r)
	secret, err := credential(r)
	var hash keys.Hash
	if err == nil {
		hash = keys.HashSecret(secret)
	}
	if ok, retry := t.Allow(addr); !ok && (err != nil || !t.Known(addr, hash)) {
		refusal := wire.Errorf(wire.KindSlowDown, "Too many requests from your address. Please slow down.")
		refusal.RetryAfter = retry
		return refusal
	}
	if err == nil && keys.CheckFormat(secret) != nil {
		err = wire.Errorf(wire.KindInvalidKey, "")
	}
	if err == nil {
		err = judge(hash)
	}
	switch {
	case err == nil, err.StatusCode() == http.StatusForbidden:
		t.Accepted(addr, hash)
	case err.StatusCode() == http.StatusUnauthorized:
		t.Failed(addr)
	}
	return err
}

// ClientAddr returns the caller's address as Caddy determines it, which honours
// `trusted_proxies` and no other header.
func ClientAddr(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap()
	}
	if addrPort, err := netip.ParseAddrPort(text); err == nil {
		return addrPort.Addr().Unmap()
	}
	return netip.Addr{} // a unix socket: one address for all
}

// SawUntrustedProxy reports whether [request.warnForwarded] has found one.
func (g *Gateway) SawUntrustedProxy() bool { return g.warnedForwarded.Load() }

// warnForwarded logs once that a proxy in front is not trusted: all callers
// behind it then share one address, and so one throttle.
func (q *request) warnForwarded() {
	if q.r.Header.Get("X-Forwarded-For") == "" || q.g.warnedForwarded.Load() {
		return
	}
	if trusted, _ := caddyhttp.GetVar(q.r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return
	}
	if q.g.warnedForwarded.CompareAndSwap(false, true) {
		q.g.Logger.Warn("a request carries X-Forwarded-For but its sender is not among trusted_proxies: "+
			"if that is your load balancer, all its callers share one address for throttle and allow_ip",
			zap.Stringer("peer", ClientAddr(q.r)))
	}
}
