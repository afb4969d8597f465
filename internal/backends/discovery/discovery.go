package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/wire"
)

const (
	// DefaultInterval is how often a backend's models are listed.
	DefaultInterval = 10 * time.Minute

	maxFirstDelay = 250 * time.Millisecond
	firstRetry    = 5 * time.Second // doubled by each failure, up to the interval
	listTimeout   = 30 * time.Second
	maxPages      = 20
)

// Discovery lists a backend's models at intervals. A failure leaves the last list
// as it was.
type Discovery struct {
	Backend string // its name

	// Page requests the page of the list after an id, or the first page for "".
	Page func(ctx context.Context, after string) (body []byte, err error)

	Every   time.Duration
	Catalog *Catalog
	Names   *Names // also receives the names
	Logger  *zap.Logger

	failures int // in a row
}

// Run lists the models until ctx ends: soon, then at the interval, sooner after a
// failure. The times are spread so that gates do not ask all at once.
func (d *Discovery) Run(ctx context.Context) {
	timer := time.NewTimer(rand.N(maxFirstDelay))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		_ = d.Refresh(ctx) // which logs its error
		if ctx.Err() != nil {
			return
		}
		timer.Reset(d.wait())
	}
}

// wait returns the time until the next request.
func (d *Discovery) wait() time.Duration {
	wait := d.Every
	if d.failures > 0 {
		wait = min(wait, firstRetry<<min(d.failures-1, 16))
	}
	return wait*9/10 + rand.N(wait/5+1)
}

// Refresh lists the models once and stores the list. It returns why it could not.
func (d *Discovery) Refresh(ctx context.Context) error {
	models, err := d.list(ctx)
	if ctx.Err() == nil {
		d.store(models, err)
	}
	return err
}

// store stores a list in the catalog and logs changes.
func (d *Discovery) store(models []wire.Model, err error) {
	if err != nil {
		if d.failures++; d.failures == 1 {
			d.Logger.Warn("cannot list the backend's models; keeping the last list",
				zap.String("backend", d.Backend), zap.Int("models", len(d.Catalog.Models())), zap.Error(err))
		}
		return
	}
	changed := d.Catalog.Set(models)
	if changed {
		d.Names.Add(models)
	}
	if changed || d.failures > 0 {
		d.Logger.Info("models discovered", zap.String("backend", d.Backend), zap.Int("models", len(models)))
	}
	d.failures = 0
}

// list requests all pages of the list.
func (d *Discovery) list(ctx context.Context) (models []wire.Model, err error) {
	// Canceled instead of timed out: a slow list is no failure for which
	// reverse_proxy should take the backend out of its pool.
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(listTimeout, cancel)
	defer late.Stop()

	after := ""
	for range maxPages {
		body, err := d.Page(bounded, after)
		if err != nil {
			if bounded.Err() != nil {
				err = fmt.Errorf("no answer within %s", listTimeout)
			}
			return nil, err
		}
		page, next, err := wire.ParseModels(body)
		if err != nil {
			return nil, err
		}
		models = append(models, page...)
		if len(models) >= MaxModels {
			return models[:MaxModels], nil
		}
		if next == "" || next == after {
			break
		}
		after = next
	}
	return models, nil
}
