package boltdb_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLedger(t *testing.T) {
	usagetest.Subject{
		Open: func(t testing.TB, dir string, now func() time.Time) usage.Ledger {
			l, err := boltdb.Open(filepath.Join(dir, "usage.db"), boltdb.Options{Now: now, FlushInterval: time.Hour})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return l
		},
		Durable: true,
		Settle: func(t testing.TB, l usage.Ledger) {
			if err := l.(*boltdb.Ledger).Flush(); err != nil {
				t.Errorf("%v", err)
			}
		},
	}.Run(t)
}
