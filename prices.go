package pinegate

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/usage/pricing"
)

// pricePoll is how often price files are checked for changes.
const pricePoll = 2 * time.Second

// provisionPrices reads the price files, so that an invalid one is an error of
// the configuration.
func (a *App) provisionPrices() error {
	if len(a.Prices) == 0 {
		return nil
	}
	paths := make([]string, len(a.Prices))
	replacer := caddy.NewReplacer()
	for i, path := range a.Prices {
		var err error
		if paths[i], err = replacer.ReplaceOrErr(path, true, true); err != nil {
			return err
		}
	}
	var err error
	a.prices, err = pricing.OpenFiles(paths, time.Now())
	return err
}

// watchPrices starts rereading the files when they change, until unwatchPrices.
func (a *App) watchPrices() {
	if a.prices == nil {
		return
	}
	a.logger.Info("prices read", zap.Int("models", a.prices.List().Len()))
	a.stopPrices = make(chan struct{})
	go func(stop <-chan struct{}) {
		tick := time.NewTicker(pricePoll)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				changed, err := a.prices.Refresh(now)
				if err != nil {
					a.logger.Error("prices were not changed: what was read can't be taken over", zap.Error(err))
				}
				if changed {
					a.logger.Info("prices changed", zap.Int("models", a.prices.List().Len()))
				}
			}
		}
	}(a.stopPrices)
}

// unwatchPrices stops watchPrices. Requests in flight keep the price they were
// admitted with.
func (a *App) unwatchPrices() {
	if a.stopPrices != nil {
		close(a.stopPrices)
		a.stopPrices = nil
	}
}
