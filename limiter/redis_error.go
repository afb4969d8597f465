package limiter

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrUnavailable is what an error of a store wraps where the store can't decide: whether a limit has
// room is not known, and nothing is known to be taken. What is done then is the caller's policy. The
// error itself is an [*Unavailable], which has the reason.
var ErrUnavailable = errors.New("the store of limits is unavailable")

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
	ReasonSeed        = "seed"        // what a quota has used can't be told, see Seed; the store itself is there
	ReasonOther       = "other"       // anything else
)

// Error implements error.
func (e *Unavailable) Error() string {
	return fmt.Sprintf("%v: %s: %v", ErrUnavailable, e.Reason, e.Err)
}

// Unwrap makes errors.Is find ErrUnavailable and the cause.
func (e *Unavailable) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// unavailable wraps what a client of Redis returned. Whatever is not understood means that Redis did
// not decide: there is no error that lets a request pass.
func unavailable(err error) error {
	if already := new(Unavailable); errors.As(err, &already) {
		return err
	}
	return &Unavailable{Reason: reasonOf(err), Err: err}
}

// replies are the beginnings of the errors that Redis and Valkey answer with, and what they mean.
var replies = []struct{ prefix, reason string }{
	{"NOAUTH ", ReasonAuth}, {"WRONGPASS ", ReasonAuth}, {"ERR invalid password", ReasonAuth},
	{"ERR Client sent AUTH", ReasonAuth}, {"ERR AUTH ", ReasonAuth},
	{"NOPERM ", ReasonPermission},
	{"LOADING ", ReasonLoading},
	{"BUSY ", ReasonBusy}, {"ERR max number of clients", ReasonBusy},
	{"OOM ", ReasonMemory},
	{"READONLY ", ReasonReadOnly},
	{"MISCONF ", ReasonMisconf}, {"NOREPLICAS ", ReasonMisconf}, {"MASTERDOWN ", ReasonMisconf},
	{"CLUSTERDOWN ", ReasonClusterDown}, {"MOVED ", ReasonClusterDown}, {"ASK ", ReasonClusterDown},
	{"TRYAGAIN ", ReasonClusterDown}, {"CROSSSLOT ", ReasonClusterDown},
	{"ERR unknown command", ReasonVersion},
}

// ReasonOf is the word for what a client of Redis returned: see the Reason constants.
func ReasonOf(err error) string { return reasonOf(err) }

func reasonOf(err error) string {
	var reply redis.Error
	if errors.As(err, &reply) {
		return reasonOfReply(reply.Error())
	}
	var netError net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, redis.ErrPoolTimeout):
		return ReasonTimeout
	case errors.Is(err, redis.ErrClosed):
		return ReasonClosed
	case errors.As(err, &netError) && netError.Timeout():
		return ReasonTimeout
	case errors.As(err, &netError), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return ReasonConnect
	case isTLS(err), strings.Contains(err.Error(), "sentinel"), errors.Is(err, redis.ErrPoolExhausted):
		return ReasonConnect
	default:
		return ReasonOther
	}
}

// reasonOfReply classes what Redis said. An error within a script has the script's position before it
// or after it, by the version of Redis, so that the code need not be the first word.
func reasonOfReply(message string) string {
	for _, r := range replies {
		if strings.HasPrefix(message, r.prefix) {
			return r.reason
		}
	}
	switch {
	case strings.Contains(message, "unauthenticated"): // who has not logged in may send no long command
		return ReasonAuth
	case strings.Contains(message, "The user executing the script can't"): // NOPERM of Redis 6 and older
		return ReasonPermission
	case strings.Contains(message, "after non deterministic commands"):
		return ReasonVersion // Redis before 5 replicates scripts, not their effects
	case strings.Contains(message, "Unknown Redis command called from script"):
		return ReasonVersion
	}
	for _, r := range replies {
		if strings.Contains(message, "-"+r.prefix) || strings.Contains(message, ": "+r.prefix) {
			return r.reason
		}
	}
	return ReasonOther
}

func isTLS(err error) bool {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	return errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &host) || strings.HasPrefix(err.Error(), "tls:")
}
