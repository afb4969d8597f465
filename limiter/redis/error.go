package redis

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/limiter"
)

// unavailable wraps an error of the Redis client. An unknown error too means that Redis did not decide:
// no error lets a request pass.
func unavailable(err error) error {
	if errors.As(err, new(*limiter.Unavailable)) {
		return err
	}
	return &limiter.Unavailable{Reason: reasonOf(err), Err: err}
}

// replies maps the prefixes of the error replies of Redis and Valkey to reasons.
var replies = []struct{ prefix, reason string }{
	{"NOAUTH ", limiter.ReasonAuth}, {"WRONGPASS ", limiter.ReasonAuth}, {"ERR invalid password", limiter.ReasonAuth},
	{"ERR Client sent AUTH", limiter.ReasonAuth}, {"ERR AUTH ", limiter.ReasonAuth},
	{"NOPERM ", limiter.ReasonPermission},
	{"LOADING ", limiter.ReasonLoading},
	{"BUSY ", limiter.ReasonBusy}, {"ERR max number of clients", limiter.ReasonBusy},
	{"OOM ", limiter.ReasonMemory},
	{"READONLY ", limiter.ReasonReadOnly},
	{"MISCONF ", limiter.ReasonMisconf}, {"NOREPLICAS ", limiter.ReasonMisconf}, {"MASTERDOWN ", limiter.ReasonMisconf},
	{"CLUSTERDOWN ", limiter.ReasonClusterDown}, {"MOVED ", limiter.ReasonClusterDown}, {"ASK ", limiter.ReasonClusterDown},
	{"TRYAGAIN ", limiter.ReasonClusterDown}, {"CROSSSLOT ", limiter.ReasonClusterDown},
	{"ERR unknown command", limiter.ReasonVersion},
}

// ReasonOf returns the reason of an error of the Redis client, or of a [limiter.Unavailable]: see the
// Reason constants.
func ReasonOf(err error) string { return reasonOf(err) }

func reasonOf(err error) string {
	if known := new(limiter.Unavailable); errors.As(err, &known) {
		return known.Reason
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		return reasonOfReply(reply.Error())
	}
	var netError net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, redis.ErrPoolTimeout):
		return limiter.ReasonTimeout
	case errors.Is(err, redis.ErrClosed):
		return limiter.ReasonClosed
	case errors.As(err, &netError) && netError.Timeout():
		return limiter.ReasonTimeout
	case errors.As(err, &netError), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return limiter.ReasonConnect
	case isTLS(err), strings.Contains(err.Error(), "sentinel"), errors.Is(err, redis.ErrPoolExhausted):
		return limiter.ReasonConnect
	default:
		return limiter.ReasonOther
	}
}

// reasonOfReply returns the reason of an error reply. In an error within a script, the script's position
// precedes or follows the message, depending on the Redis version, so the code need not come first.
func reasonOfReply(message string) string {
	for _, r := range replies {
		if strings.HasPrefix(message, r.prefix) {
			return r.reason
		}
	}
	switch {
	case strings.Contains(message, "unauthenticated"): // a long command on an unauthenticated connection
		return limiter.ReasonAuth
	case strings.Contains(message, "The user executing the script can't"): // NOPERM of Redis 6 and older
		return limiter.ReasonPermission
	case strings.Contains(message, "after non deterministic commands"):
		return limiter.ReasonVersion // Redis before 5 replicates scripts, not their effects
	case strings.Contains(message, "Unknown Redis command called from script"):
		return limiter.ReasonVersion
	}
	for _, r := range replies {
		if strings.Contains(message, "-"+r.prefix) || strings.Contains(message, ": "+r.prefix) {
			return r.reason
		}
	}
	return limiter.ReasonOther
}

func isTLS(err error) bool {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	return errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &host) || strings.HasPrefix(err.Error(), "tls:")
}
