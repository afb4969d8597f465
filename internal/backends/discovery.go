package backends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/wire"
)

const (
	// DefaultDiscover is how often a backend is asked for its models.
	DefaultDiscover = 10 * time.Minute

	firstAsk     = 250 * time.Millisecond // after the start, at most
	firstRetry   = 5 * time.Second        // doubled by each failure, up to the interval
	listTimeout  = 30 * time.Second
	maxListBytes = 4 << 20 // of one page
	maxListPages = 20
)

// Discovery asks a backend at intervals which models it has, the way requests
// go: with its credential and under dial_allow. What fails leaves the list as it was.
type Discovery struct {
	Name      string // the backend's
	Anthropic bool   // the list comes in pages, whose size is asked for
	Forwarder Forwarder
	Every     time.Duration
	Catalog   *Catalog
	Names     *Names // takes the names, too
	Logger    *zap.Logger

	failures int // in a row
}

// Run asks until ctx ends: soon, then at the interval, sooner where it failed.
// The times are spread, so that many gates don't ask at once.
func (d *Discovery) Run(ctx context.Context) {
	timer := time.NewTimer(rand.N(firstAsk))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		models, err := d.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		d.note(models, err)
		timer.Reset(d.wait())
	}
}

// wait is the time until the next question.
func (d *Discovery) wait() time.Duration {
	wait := d.Every
	if d.failures > 0 {
		wait = min(wait, firstRetry<<min(d.failures-1, 16))
	}
	return wait*9/10 + rand.N(wait/5+1)
}

// note keeps what a question brought, and tells the log where it changed.
func (d *Discovery) note(models []wire.Model, err error) {
	if err != nil {
		if d.failures++; d.failures == 1 {
			d.Logger.Warn("a backend does not tell its models; what it told before holds",
				zap.String("backend", d.Name), zap.Int("models", len(d.Catalog.Models())), zap.Error(err))
		}
		return
	}
	changed := d.Catalog.Set(models)
	if changed {
		d.Names.Add(models)
	}
	if changed || d.failures > 0 {
		d.Logger.Info("models discovered", zap.String("backend", d.Name), zap.Int("models", len(models)))
	}
	d.failures = 0
}

// ask asks for all pages of the list.
func (d *Discovery) ask(ctx context.Context) (models []wire.Model, err error) {
	// Cancelled, not timed out: a list that is slow is no failure of the backend
	// by which reverse_proxy should take it out of its pool.
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(listTimeout, cancel)
	defer late.Stop()

	after := ""
	for range maxListPages {
		body, err := d.page(bounded, after)
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
		if len(models) >= maxDiscovered {
			return models[:maxDiscovered], nil
		}
		if next == "" || next == after {
			break
		}
		after = next
	}
	return models, nil
}

// page asks for the page of the list behind an id.
func (d *Discovery) page(ctx context.Context, after string) (body []byte, err error) {
	query := make(url.Values)
	if d.Anthropic {
		query.Set("limit", fmt.Sprint(maxDiscovered))
	}
	if after != "" {
		query.Set("after_id", after)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pine-gate.invalid/v1/models", nil)
	if err != nil {
		return nil, err
	}
	req.RemoteAddr = "127.0.0.1:0" // reverse_proxy reads it; nothing of it is sent
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "pine-gate")

	answer := &listAnswer{header: make(http.Header)}
	req = caddyhttp.PrepareRequest(req, caddy.NewReplacer(), answer, new(caddyhttp.Server))
	exchange := &Exchange{Endpoint: wire.ListModels, Query: query.Encode()}
	defer func() {
		// reverse_proxy ends what breaks off midway by a panic.
		if r := recover(); r != nil {
			if r != http.ErrAbortHandler {
				panic(r)
			}
			if body, err = nil, errors.New("the list of models broke off"); answer.tooLong {
				err = errTooLong
			}
		}
	}()
	err = d.Forwarder.Forward(req.Context(), answer, req, exchange)
	switch {
	case exchange.Err != nil:
		return nil, exchange.Err
	case err != nil:
		return nil, err
	case exchange.Status != http.StatusOK:
		return nil, fmt.Errorf("backend answered %d", exchange.Status)
	case answer.tooLong:
		return nil, errTooLong
	}
	return answer.body.Bytes(), nil
}

var errTooLong = fmt.Errorf("the list of models is longer than %d bytes", maxListBytes)

// listAnswer takes an answer, as much of it as counts.
type listAnswer struct {
	header  http.Header
	body    bytes.Buffer
	tooLong bool
}

func (a *listAnswer) Header() http.Header { return a.header }
func (a *listAnswer) WriteHeader(int)     {}
func (a *listAnswer) Flush()              {}
func (a *listAnswer) Write(p []byte) (int, error) {
	if a.body.Len()+len(p) > maxListBytes {
		a.tooLong = true
		return 0, errTooLong // ends it
	}
	return a.body.Write(p)
}
