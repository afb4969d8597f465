package handlers

import (
	"net/http"
	"time"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// request is one request to the gate. The steps up to admit set its fields in
// turn. Nothing writes them afterwards, so any goroutine may read them.
type request struct {
	g *Gateway
	w http.ResponseWriter
	r *http.Request

	// Set by ServeHTTP.
	start    time.Time
	id       string
	idHeader [1]string // the id as the value of a header
	endpoint wire.Endpoint
	dialect  *wire.Dialect
	pathID   string // of /v1/models/{id}, /v1/responses/{id}

	// Set by authenticate.
	key    *keys.Key
	grants *grants

	// Set by readRequest.
	body     []byte
	parsed   *wirerequest.Request
	bodyTime time.Duration // spent waiting for the body

	// Set by route and openLedger.
	routed     *routing.Route
	candidates []routing.Candidate // in the order in which they are tried
	ledger     usage.Ledger

	// Set by admit.
	policy      modelPolicy // of the model asked for
	input       int64       // tokens, estimated
	reservation limiter.Reservation
	states      []limiter.State // of the limits, as they were at admission

	// scope is the scope of the limit or backend that made route or admit refuse
	// the request.
	scope string

	// Backing arrays of the slices above and those of admit, which save
	// allocations while the slices are short.
	candidateSpace [2]routing.Candidate
	ruleSpace      [8]*limiter.Rule
	ruleSetSpace   [2][]*limiter.Rule
}

// serveMetered runs the steps of a request that a backend answers.
func (q *request) serveMetered() *wire.Error {
	if err := q.readRequest(); err != nil {
		return err
	}
	if err := q.authorise(); err != nil {
		return err
	}
	if err := q.route(); err != nil {
		return err
	}
	shared := q.g.Shared
	shared.Acquire()
	defer shared.Release()

	if err := q.openLedger(); err != nil {
		return err
	}
	if err := q.admit(); err != nil {
		return err
	}
	s := &settlement{request: q}
	s.forward()
	return nil
}

// authorise checks that the key may use the model and those that the request names
// elsewhere, and refuses background requests and other keys' profiles.
func (q *request) authorise() *wire.Error {
	if _, ok := q.r.Header[userProfile]; ok {
		refusal := wire.Errorf(wire.KindBadRequest, "The header %s is not supported by this gateway: its callers share an account, and its profiles.", userProfile)
		refusal.Param = userProfile
		return refusal
	}
	if q.parsed.Background {
		refusal := wire.Errorf(wire.KindBadRequest, "background is not supported by this gateway.")
		refusal.Param = "background"
		return refusal
	}
	if !q.grants.allows(q.parsed.Model) {
		return wire.Errorf(wire.KindModelForbidden, "")
	}
	for _, named := range q.parsed.NamedModels() {
		if !q.grants.allows(named.Model) {
			refusal := wire.Errorf(wire.KindModelForbidden, "This API key may not use a model that the request names in %s.", named.Param)
			refusal.Param = named.Param
			return refusal
		}
	}
	return nil
}
