package limiter

import (
	"errors"
	"fmt"
)

// ErrUnavailable is wrapped by the errors of a store that can't decide: it is unknown whether a limit
// has room, and nothing is known to be taken. How to proceed is the caller's policy. The error itself
// is an [*Unavailable], which has the reason.
var ErrUnavailable = errors.New("rate-limit store unavailable")

// Unavailable is the error of a store that can't decide.
type Unavailable struct {
	// Reason is one of the Reason constants, suitable as a metric label.
	Reason string

	// Err is the error of the store or the network. It may contain addresses, but no credentials.
	Err error
}

// The reasons why a store can't decide.
const (
	ReasonConnect     = "connect"     // no connection: refused, reset, closed, no such name, TLS
	ReasonTimeout     = "timeout"     // no answer within the budget
	ReasonAuth        = "auth"        // NOAUTH, WRONGPASS
	ReasonPermission  = "permission"  // NOPERM: the user may not use a command or a key
	ReasonLoading     = "loading"     // LOADING: reading its data after a start
	ReasonBusy        = "busy"        // BUSY: another client's script is running; or maxclients is reached
	ReasonMemory      = "memory"      // OOM: over maxmemory
	ReasonReadOnly    = "readonly"    // READONLY: a replica, as after a failover
	ReasonMisconf     = "misconf"     // MISCONF, NOREPLICAS, MASTERDOWN: writes are refused
	ReasonClusterDown = "clusterdown" // CLUSTERDOWN, MOVED, ASK, TRYAGAIN, CROSSSLOT
	ReasonVersion     = "version"     // too old for the scripts
	ReasonClosed      = "closed"      // the store was closed
	ReasonSeed        = "seed"        // the usage of a quota is unknown, see Seed; the store itself is available
	ReasonDamaged     = "damaged"     // a counter has a value that no gate wrote; the store itself is available
	ReasonOther       = "other"       // anything else
)

// Error returns the reason and the cause.
func (e *Unavailable) Error() string {
	return fmt.Sprintf("%v: %s: %v", ErrUnavailable, e.Reason, e.Err)
}

// Unwrap returns ErrUnavailable and the cause.
func (e *Unavailable) Unwrap() []error { return []error{ErrUnavailable, e.Err} }
