package pinegate

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// keyStore returns the keys of the gate. The app starts it when the configuration
// starts: provisioning only reads files.
func (h *Handler) keyStore(ctx caddy.Context, app *App) (*keys.Store, error) {
	for _, key := range h.Keys {
		if err := app.define("key", key.ID, key); err != nil {
			return nil, err
		}
	}
	c := keys.StoreConfig{Keys: h.Keys, Files: h.KeyFiles, Admin: h.AdminKeys}
	if h.KeyStore {
		app.runtimeKeys, c.Runtime = true, app.store.Registry()
	}
	return newKeyStore(ctx.Logger(), app, c)
}

// newKeyStore returns a store of keys that resolves placeholders with Caddy's
// replacer and logs changes and errors. It returns an error if one of its keys
// is an admin key of another store of the app, or the other way round.
func newKeyStore(logger *zap.Logger, app *App, c keys.StoreConfig) (*keys.Store, error) {
	replacer := caddy.NewReplacer()
	c.Resolve = func(placeholder string) (string, error) {
		return replacer.ReplaceOrErr(placeholder, true, true)
	}
	c.OnError = func(err error) {
		logger.Error("keys not changed: invalid keys file or secret", zap.Error(err))
	}
	c.OnWarning = func(err error) { logger.Warn("keys file", zap.Error(err)) }
	c.OnChange = func(ring *keys.Set) { logger.Info("keys changed", zap.Int("keys", ring.Len())) }
	store, err := keys.NewStore(c)
	if err != nil {
		return nil, err
	}
	for _, other := range app.keyStores {
		if err := checkApart(store.Current(), other.Current()); err != nil {
			return nil, err
		}
	}
	app.keyStores = append(app.keyStores, store)
	return store, nil
}

// checkApart returns an error if a caller's key in one set is an admin key in the
// other. Within one set [keys.NewStore] refuses that; keys files that are reloaded
// later are not compared with other sites.
func checkApart(a, b *keys.Set) error {
	key := a.Opened(b)
	if key == nil {
		key = b.Opened(a)
	}
	if key == nil {
		return nil
	}
	return fmt.Errorf("key %q has a secret in common with an admin key of another site or of pinegate_admin", key.ID)
}
