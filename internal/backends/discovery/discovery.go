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

// Discovery lists a backend's models at intervals. After a failure the last list
// stays.
type Discovery struct {
	Backend string // its name

	// Page requests the page of the list after the id after, or the first page
	// if after is "".
	Page func(ctx context.Context, after string) (body []byte, err error)

	Every   time.Duration
	Catalog *Catalog
	Names   *Names // also receives the names
	Logger  *zap.Logger

	failures int // in a row
}

// Run lists the models until ctx ends: shortly after the start, then at the
// interval, sooner after a failure. The times are randomised so that gates do
// not send requests all at once.
func (d *Discovery) Run(ctx context.Context) {
	timer := time.NewTimer(rand.N(maxFirstDelay))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		_ = d.Refresh(ctx) // it logs its error
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

// Refresh lists the models once and stores the list. It returns an error if it
// cannot list them.
func (d *Discovery) Refresh(ctx context.Context) error {
	models, err := d.list(ctx)
	if ctx.Err() == nil {
		d.store(models, err)
	}
	return err
}

// store stores models in the catalog and logs changes.
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
	// Cancelled instead of timed out: reverse_proxy must not take a slow list
	// for a failure and remove the backend from its pool.
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
