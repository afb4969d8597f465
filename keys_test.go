package pinegate

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// The holder of a caller's key of one site must not administer another.
func TestACallersKeyOfOneSiteOpensNoOther(t *testing.T) {
	secret := "sha256:" + strings.Repeat("ab", 32)
	other := "sha256:" + strings.Repeat("cd", 32)
	caller := keys.StoreConfig{Keys: []keys.Config{{ID: "alice", Secrets: []string{secret}}}}
	admin := func(secret string) keys.StoreConfig {
		return keys.StoreConfig{Admin: []string{secret}, AllowEmpty: true}
	}
	for name, c := range map[string]struct {
		first, second keys.StoreConfig
		refused       bool
	}{
		"the admin later": {caller, admin(secret), true},
		"the admin first": {admin(secret), caller, true},
		"two secrets":     {caller, admin(other), false},
		"one admin twice": {admin(secret), admin(secret), false},
	} {
		app := new(App)
		if _, err := newKeyStore(zap.NewNop(), app, c.first); err != nil {
			t.Fatal(err)
		}
		_, err := newKeyStore(zap.NewNop(), app, c.second)
		if c.refused != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (!strings.Contains(err.Error(), `key "alice"`) || strings.Contains(err.Error(), "abab")) {
			t.Errorf("%s: the error says %v", name, err)
		}
	}
}
