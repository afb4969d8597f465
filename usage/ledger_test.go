package usage_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	usagetest.Subject{
		Open: func(_ testing.TB, _ string, now func() time.Time) usage.Ledger {
			return usage.NewMemoryWithClock(0, now)
		},
		Settle: func(t testing.TB, l usage.Ledger) {
			if err := l.(*usage.Memory).Merge(); err != nil {
				t.Errorf("%v", err)
			}
		},
	}.Run(t)
}

func TestBolt(t *testing.T) {
	usagetest.Subject{
		Open: func(t testing.TB, dir string, now func() time.Time) usage.Ledger {
			l, err := usage.OpenBolt(filepath.Join(dir, "usage.db"), usage.BoltOptions{Now: now, FlushInterval: time.Hour})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return l
		},
		Durable: true,
		Settle: func(t testing.TB, l usage.Ledger) {
			if err := l.(*usage.Bolt).Flush(); err != nil {
				t.Errorf("%v", err)
			}
		},
	}.Run(t)
}
