package pinegate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/config"
)

// discover registers the backend to be polled for its models once the
// configuration runs. A backend of several gates is polled once.
func discover(app *App, b *config.Backend, backend *routing.Backend, transport *backends.Transport) error {
	every, err := discoverEvery(b, transport)
	if err != nil || every == 0 {
		return err
	}
	backend.Catalog = backend.State.Catalog()
	if app.discoveries == nil {
		app.discoveries = make(map[string]*discovery.Discovery)
	}
	app.discoveries[b.Name] = &discovery.Discovery{
		Backend: b.Name,
		Page:    backends.ListModels(backend.Forwarder, transport.PagesModels()),
		Every:   every,
		Catalog: backend.Catalog,
		Names:   app.store.Backends().Names(),
		Logger:  app.logger,
	}
	return nil
}

// discoverEvery returns the interval at which the backend is polled for its
// models, 0 for never.
func discoverEvery(b *config.Backend, transport *backends.Transport) (time.Duration, error) {
	every := time.Duration(b.Discover)
	switch {
	case every > 0 && transport.API == "echo":
		return 0, errors.New("discover: api echo has no models to tell")
	case b.DiscoverOff || every > 0:
		return every, nil
	case transport.API == "echo" || transport.IsAzure() || len(b.Models) > 0 && !slices.Contains(b.Models, "*"):
		return 0, nil
	}
	return discovery.DefaultInterval, nil
}

// askBackends starts polling the backends for their models.
func (a *App) askBackends() {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	for _, d := range a.discoveries {
		asking.Go(func() { d.Run(ctx) })
	}
	a.stopAsking = func() {
		cancel()
		asking.Wait()
	}
}
