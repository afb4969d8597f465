package failover_test

import (
	"context"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The client logs errors that the store also returns, to stderr for all clients of a process.
func init() { goredis.SetLogger(noLog{}) }

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// dial returns a client that the test closes.
func dial(t *testing.T, opts redis.ClientOptions) goredis.UniversalClient {
	t.Helper()
	open, err := redis.Opener(opts)
	if err != nil {
		t.Fatal(err)
	}
	client := open()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// holdsOf returns holds of an amount of each rule, as of now.
func holdsOf(rules []*limiter.Rule, amount int64) []account.Hold {
	holds := make([]account.Hold, len(rules))
	for i, rule := range rules {
		holds[i] = account.Hold{Rule: rule, Amount: amount}
		if w := rule.Limit.Window; w.Quota() {
			start, _ := w.Bounds(time.Now())
			holds[i].Mark = start.UnixNano()
		}
	}
	return holds
}
