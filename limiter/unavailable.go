package limiter

import (
	"errors"
	"fmt"
)

// ErrUnavailable is what an error of a store wraps where the store can't decide: whether a limit has
// room is not known, and nothing is known to be taken. What is done then is the caller's policy. The
// error itself is an [*Unavailable], which has the reason.
var ErrUnavailable = errors.New("rate-limit store unavailable")

// Unavailable is the error of a store that can't decide.
type Unavailable struct {
	// Reason is one of a few words, fit for the label of a metric: see the Reason constants.
	Reason string

	// Err is what the store or the network said. It may hold addresses; it holds no credential.
	Err error
}

// The reasons why a store can't decide.
const (
	ReasonConnect     = "connect"     // no connection: refused, reset, closed, no such name, TLS
	ReasonTimeout     = "timeout"     // no answer within the budget
	ReasonAuth        = "auth"        // NOAUTH, WRONGPASS
	ReasonPermission  = "permission"  // NOPERM: the user may not use a command or a key
	ReasonLoading     = "loading"     // LOADING: reading its data after a start
	ReasonBusy        = "busy"        // BUSY: in a script of somebody else; or all its clients are taken
	ReasonMemory      = "memory"      // OOM: over maxmemory
	ReasonReadOnly    = "readonly"    // READONLY: a replica, as after a failover
	ReasonMisconf     = "misconf"     // MISCONF, NOREPLICAS, MASTERDOWN: writes are refused
	ReasonClusterDown = "clusterdown" // CLUSTERDOWN, MOVED, ASK, TRYAGAIN, CROSSSLOT
	ReasonVersion     = "version"     // too old for the scripts
	ReasonClosed      = "closed"      // the store was closed
	ReasonSeed        = "seed"        // what a quota has used is not known, see Seed; the store itself is there
	ReasonOther       = "other"       // anything else
)

// Error implements error.
func (e *Unavailable) Error() string {
	return fmt.Sprintf("%v: %s: %v", ErrUnavailable, e.Reason, e.Err)
}

// Unwrap makes errors.Is find ErrUnavailable and the cause.
func (e *Unavailable) Unwrap() []error { return []error{ErrUnavailable, e.Err} }
