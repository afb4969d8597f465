package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// call is one request on its way through the gate. One goroutine owns it, but
// for its progress.
type call struct {
	g     *Gateway
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	id    string
	ids   [1]string // the same, as the value of a header

	endpoint wire.Endpoint
	dialect  *wire.Dialect
	pathID   string // of /v1/models/{id}, /v1/responses/{id}

	key    *keys.Key
	grants *grants

	body    []byte
	request *request.Request
	input   int64         // tokens, as estimated at admission
	read    time.Duration // spent waiting for the body
	models  modelPolicy   // what the policy says of the model asked for, since admission

	routed      *routing.Route
	candidates  []routing.Candidate  // in the order in which they are tried
	few         [2]routing.Candidate // where they lie as long as they are few
	rules       [8]*limiter.Rule     // where those that apply lie as long as they are few
	rulesOf     [2][]*limiter.Rule
	reservation limiter.Reservation
	ledger      usage.Ledger

	answer    answer
	used      usage.Record            // as it was settled
	keepAlive *keepAlive              // nil: none
	cancel    context.CancelCauseFunc // ends the request for a cause; set before it is in flight
	progress  progress
}

// serveMetered runs steps 4 to 10 of a request that a backend answers.
func (c *call) serveMetered() *wire.Error {
	if err := c.readRequest(); err != nil {
		return err
	}
	if err := c.authorise(); err != nil {
		return err
	}
	if err := c.route(); err != nil {
		return err
	}
	shared := c.g.Shared
	shared.Acquire()
	defer shared.Release()

	if refusal := c.openLedger(); refusal != nil {
		return refusal
	}
	if refusal := c.admit(); refusal != nil {
		return refusal
	}
	c.forward()
	return nil
}

// authorise checks that the key may use the model.
func (c *call) authorise() *wire.Error {
	if c.request.Background {
		refusal := wire.Errorf(wire.KindBadRequest, "background is not supported by this gateway.")
		refusal.Param = "background"
		return refusal
	}
	if !c.grants.allows(c.request.Model) {
		return wire.Errorf(wire.KindModelForbidden, "")
	}
	return nil
}

// refuse answers with an error and tells log and metrics of it. The message is
// the gate's own: it quotes nothing that a caller sent.
func (c *call) refuse(err *wire.Error) {
	if err.Kind == wire.KindOverloaded && c.r.Context().Err() != nil {
		// What could not be decided for a caller who left is no outage.
		c.w.WriteHeader(statusClientClosed) // for the access log; nobody reads it
		return
	}
	c.countRefusal(err)
	c.logFailure("request refused", err)
	if c.body == nil && c.r.ProtoMajor == 1 && c.r.Header.Get("Expect") != "" {
		// The caller waits with its body for what it is told; net/http would
		// wait for the body first, to use the connection again.
		c.w.Header()["Connection"] = []string{"close"}
	}
	err.Write(c.w, c.dialect, c.id)
}

// countRefusal counts a refusal by its kind. Refusals for a limit have been
// counted with their scope where it is known.
func (c *call) countRefusal(err *wire.Error) {
	if c.endpoint == wire.Ready {
		return // a probe is no request that was rejected
	}
	reason, scope := refusalReason(err.Kind)
	if c.answer.scope != "" {
		scope = c.answer.scope
	}
	c.g.Metrics.Rejected(reason, scope)
}

// refusalReason names a kind for metrics: the reason, and whose doing it was
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
