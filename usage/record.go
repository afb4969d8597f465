package usage

import (
	"errors"
	"fmt"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	OK            Outcome = "ok"             // the whole answer was delivered
	ClientClosed  Outcome = "client_closed"  // the caller left before the end
	UpstreamError Outcome = "upstream_error" // the backend refused, aborted or gave an invalid answer; counts as an error
	Timeout       Outcome = "timeout"        // the backend was too slow; counts as an error
	StreamLimit   Outcome = "stream_limit"   // the gate ended a stream that exceeded `max_stream`
	Shutdown      Outcome = "shutdown"       // the gate ended the request because it stopped
	Interrupted   Outcome = "interrupted"    // the gate died; the next one settled the request at its last checkpoint
)

// Failed reports whether the outcome counts as an error: a fault of the backend,
// not a choice of the caller or the operator.
func (o Outcome) Failed() bool { return o == UpstreamError || o == Timeout }

func (o Outcome) known() bool {
	switch o {
	case OK, ClientClosed, UpstreamError, Timeout, StreamLimit, Shutdown, Interrupted:
		return true
	}
	return false
}

// Record is what one request that reached a backend used.
type Record struct {
	// ID is the id of the request, made by the gate and never by the caller: a
	// ledger counts each only once.
	ID string

	// Start is when the request came in. It decides the minute, hour, day and
	// month that are charged, even if the answer ended in a later one.
	Start time.Time

	Key      string // id of the key, never the key itself
	Team     string // of the key; empty if it has none
	Endpoint string // as wire.Endpoint prints it
	Model    string // the one that was asked for
	Backend  string // the one that answered
	// UpstreamModel is the model that answered, by the backend's name for it;
	// empty if the backend does not name it.
	UpstreamModel string

	Status int // HTTP status sent to the caller; 0 if none was

	// Tokens are in wire's normal form: caches are parts of Input, Reasoning is a
	// part of Output.
	wire.Tokens

	CostNano int64 // nano-USD; undefined unless Priced
	Priced   bool  // the price of the model is known; it may be 0

	FirstToken time.Duration // from Start to the first content; 0 if there was none
	Duration   time.Duration // from Start to the end of the answer

	Outcome   Outcome
	Estimated bool // the gate counted Tokens, since the backend reported none
	Flagged   bool // the backend's usage was absurd or contradictory, and was clamped
	Attempts  int  // backends tried, at least 1
}

// ErrInvalid is wrapped by the errors of invalid records.
var ErrInvalid = errors.New("invalid usage record")

// maxID bounds the id of a record, in bytes.
const maxID = 256

// maxCount bounds each count of one record, so that the sum of eight million of
// the largest fits into an int64. The meter clamps far below it.
const maxCount = 1 << 40

// MaxCost bounds the cost of one record, in nano-USD: a million USD.
const MaxCost = 1_000_000 * 1_000_000_000

// Validate returns an error if the record is invalid. It wraps ErrInvalid.
func (r *Record) Validate() error {
	switch {
	case r.ID == "":
		return fmt.Errorf("%w: no id", ErrInvalid)
	case len(r.ID) > maxID:
		return fmt.Errorf("%w: an id of %d bytes", ErrInvalid, len(r.ID))
	case r.Start.Unix() < 0 || r.Start.Unix() > maxUnix:
		return fmt.Errorf("%w %s: start %v out of range", ErrInvalid, r.ID, r.Start)
	case r.Endpoint == "":
		return fmt.Errorf("%w %s: no endpoint", ErrInvalid, r.ID)
	case !r.Outcome.known():
		return fmt.Errorf("%w %s: unknown outcome %q", ErrInvalid, r.ID, r.Outcome)
	case r.CostNano < 0 || r.CostNano > MaxCost:
		return fmt.Errorf("%w %s: cost of %d nano-USD out of range", ErrInvalid, r.ID, r.CostNano)
	}
	for _, n := range [...]int64{r.Input, r.CacheRead, r.CacheWrite, r.Output, r.Reasoning} {
		if n < 0 || n > maxCount {
			return fmt.Errorf("%w %s: %d tokens out of range", ErrInvalid, r.ID, n)
		}
	}
	return nil
}
