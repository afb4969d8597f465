package handlers

import (
	"github.com/amanycodes/pine-gate/internal/wire"
)

// refuse writes the error to the caller, counts it and logs it. The message is
// the gate's own: it quotes nothing that a caller sent.
func (q *request) refuse(err *wire.Error, scope string) {
	if err.Kind == wire.KindOverloaded && q.r.Context().Err() != nil {
		// A decision that failed since the caller left is no outage.
		q.w.WriteHeader(statusClientClosed) // for the access log; nobody reads it
		return
	}
	q.countRefusal(err, scope)
	q.logRefusal(err)
	if q.body == nil && q.r.ProtoMajor == 1 && q.r.Header.Get("Expect") != "" {
		// The caller waits for the status before it sends its body; net/http would
		// wait for the body first, to reuse the connection.
		q.w.Header()["Connection"] = []string{"close"}
	}
	err.Write(q.w, q.dialect, q.id)
}

// countRefusal counts a refusal by its kind and scope, that of the limit or
// backend that refused. If scope is empty, it is the kind's own.
func (q *request) countRefusal(err *wire.Error, scope string) {
	if q.endpoint == wire.Ready {
		return // a probe is not counted as a rejected request
	}
	reason, kindScope := refusalReason(err.Kind)
	if scope == "" {
		scope = kindScope
	}
	q.g.Metrics.Rejected(reason, scope)
}

// refusalReason returns the labels of a kind in metrics: the reason, and the scope
// where no limit was involved.
func refusalReason(k wire.Kind) (reason, scope string) {
	switch k {
	case wire.KindNoKey, wire.KindInvalidKey:
		return "unauthenticated", "caller"
	case wire.KindEndpointForbidden, wire.KindIPForbidden, wire.KindModelForbidden, wire.KindAdminOnly, wire.KindNotPriced:
		return "forbidden", "key"
	case wire.KindModelNotFound, wire.KindUnknownURL, wire.KindMethod:
		return "not_found", "caller"
	case wire.KindRateLimited:
		return "rate_limit", "caller"
	case wire.KindSlowDown:
		return "slow_down", "caller"
	case wire.KindQuota:
		return "quota", "caller"
	case wire.KindUpstream, wire.KindUpstreamTimeout:
		return "upstream", "backend"
	case wire.KindOverloaded, wire.KindInternal:
		return "unavailable", "gate"
	default:
		return "bad_request", "caller"
	}
}
