package config

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/usage"
)

func TestStoreSettings(t *testing.T) {
	second, day := caddy.Duration(time.Second), caddy.Duration(24*time.Hour)
	for _, c := range []struct {
		store *Store
		want  usage.Settings
		wrong bool
	}{
		{nil, usage.Settings{}, false},
		{&Store{}, usage.Settings{}, false},
		{&Store{Sync: second, Retention: day}, usage.Settings{Sync: time.Second, Retention: 24 * time.Hour}, false},
		{&Store{SyncAlways: true}, usage.Settings{Sync: usage.SyncAlways}, false},
		{&Store{Sync: -second}, usage.Settings{}, true},
		{&Store{Retention: -day}, usage.Settings{}, true},
		{&Store{Sync: second, SyncAlways: true}, usage.Settings{}, true},
	} {
		got, err := c.store.Settings()
		if (err != nil) != c.wrong || err == nil && got != c.want {
			t.Errorf("%+v: %+v, %v", c.store, got, err)
		}
	}
}
