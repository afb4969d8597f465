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
// now. Unknown, malformed, expired and disabled keys are told apart by
// nothing: an answer that differs would tell which secrets exist. Where keys that
// are made at runtime can't be asked for, nobody is called unknown: a client that
// is told 401 gives up for good.
func (c *call) authenticate() *wire.Error {
	ring := c.g.Keys.Current()
	err := identify(c.g.Throttle, c.r, func(h keys.Hash) *wire.Error {
		key := ring.Lookup(h)
		switch {
		case key == nil && !c.g.Keys.Known(), key != nil && !c.g.Keys.Trusts(key):
			return wire.Errorf(wire.KindOverloaded, "")
		case key == nil, key.Disabled, key.Expired(c.start):
			return wire.Errorf(wire.KindInvalidKey, "")
		}
		c.key = key
		return nil
	})
	if err != nil {
		return err
	}
	c.warnForwarded()
	c.grants = c.g.Policy.grants(ring, c.key)
	if !c.key.AllowsIP(ClientAddr(c.r)) {
		return wire.Errorf(wire.KindIPForbidden, "")
	}
	if group := c.endpoint.Group(); group != "" && !c.key.AllowsEndpoint(group) {
		return wire.Errorf(wire.KindEndpointForbidden, "")
	}
	return nil
}

// authenticateAdmin lets the holder of an admin key through. A caller's key is
// known but not allowed; anything else is as unknown as anywhere.
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

// identify asks the throttle, takes the credential out of a request and judges
// it by its hash. An address that has used up its failures is refused unseen,
// but for a key that was good from there within the hour: one bad client must
// not lock out the others behind its address.
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

// ClientAddr is the caller's address as Caddy sees it, which honours
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

// SawUntrustedProxy tells whether [call.warnForwarded] has found one.
func (g *Gateway) SawUntrustedProxy() bool { return g.warnedForwarded.Load() }

// warnForwarded says once that a proxy in front is not trusted: then all
// callers behind it share one address, and so one throttle.
func (c *call) warnForwarded() {
	if c.r.Header.Get("X-Forwarded-For") == "" || c.g.warnedForwarded.Load() {
		return
	}
	if trusted, _ := caddyhttp.GetVar(c.r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return
	}
	if c.g.warnedForwarded.CompareAndSwap(false, true) {
		c.g.Logger.Warn("a request carries X-Forwarded-For but its sender is not among trusted_proxies: "+
			"if that is your load balancer, all its callers share one address for throttle and allow_ip",
			zap.Stringer("peer", ClientAddr(c.r)))
	}
}
