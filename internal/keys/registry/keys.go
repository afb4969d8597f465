package registry

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// maxSecrets is the most valid secrets of a key.
const maxSecrets = 8

// CreateKey creates a key with a secret for env, `live` or `test`, and returns
// both; the secret can't be shown again. It fails with [ErrExists],
// [*InvalidError] or [ErrUnavailable].
func (r *Registry) CreateKey(ctx context.Context, actor, id, env string, spec KeySpec) (*Key, string, error) {
	secret, err := keys.Generate(env, rand.Reader)
	if err != nil {
		return nil, "", invalid("env: " + err.Error())
	}
	now := r.now()
	key := &Key{ID: id, KeySpec: spec, Secrets: []Secret{newSecret(secret, now)}, Created: now, Updated: now, Version: 1}
	if err := key.check(); err != nil {
		return nil, "", err
	}
	err = r.change(ctx, KindKey, id, func(old []byte) ([]byte, error) {
		if old != nil {
			return nil, ErrExists
		}
		return encodeKey(key)
	})
	if err != nil {
		return nil, "", err
	}
	r.audit(KindKey, id, "create", actor)
	return key, secret, nil
}

// UpdateKey changes the [KeySpec] of a key by a JSON merge patch (RFC 7396): a
// field that is null is reset to its default. A version other than 0 makes the
// change conditional on the version that its author has seen. It fails with
// [ErrNotFound], [ErrChanged], [ErrRevoked], [*InvalidError] or [ErrUnavailable].
func (r *Registry) UpdateKey(ctx context.Context, actor, id string, patch []byte, version int64) (*Key, error) {
	return r.editKey(ctx, actor, id, "update", version, func(key *Key) error {
		if key.Revoked != nil {
			return ErrRevoked
		}
		return merge(&key.KeySpec, patch)
	})
}

// RotateKey adds a new secret to a key and returns it. The old ones expire after
// grace, or earlier if they already have an earlier expiry. It fails as UpdateKey
// does.
func (r *Registry) RotateKey(ctx context.Context, actor, id, env string, grace time.Duration) (*Key, string, error) {
	secret, err := keys.Generate(env, rand.Reader)
	if err != nil {
		return nil, "", invalid("env: " + err.Error())
	}
	if grace < 0 {
		return nil, "", invalid(fmt.Sprintf("grace: %s: expected a positive duration, or zero", grace))
	}
	key, err := r.editKey(ctx, actor, id, "rotate", 0, func(key *Key) error {
		if key.Revoked != nil {
			return ErrRevoked
		}
		now := r.now()
		rotated := []Secret{newSecret(secret, now)}
		for _, s := range key.Secrets {
			ends := now.Add(grace)
			if s.Expires == nil || s.Expires.After(ends) {
				s.Expires = &ends
			}
			if s.Expires.After(now) && len(rotated) < maxSecrets {
				rotated = append(rotated, s)
			}
		}
		key.Secrets = rotated
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return key, secret, nil
}

// RevokeKey removes all secrets of a key permanently. Its spec stays, so that its
// usage keeps its name. Revoking it again does nothing.
func (r *Registry) RevokeKey(ctx context.Context, actor, id string) (*Key, error) {
	return r.editKey(ctx, actor, id, "revoke", 0, func(key *Key) error {
		if key.Revoked == nil {
			now := r.now()
			key.Revoked, key.Secrets = &now, []Secret{}
		}
		return nil
	})
}

// DeleteKey deletes a key. Its usage stays in the ledger, and its id can be used
// again. It fails with [ErrNotFound] or [ErrUnavailable].
func (r *Registry) DeleteKey(ctx context.Context, actor, id string) error {
	err := r.change(ctx, KindKey, id, func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		return nil, nil
	})
	if err == nil {
		r.audit(KindKey, id, "delete", actor)
	}
	return err
}

// editKey changes an existing key.
func (r *Registry) editKey(ctx context.Context, actor, id, action string, version int64, edit func(*Key) error) (*Key, error) {
	var key *Key
	err := r.change(ctx, KindKey, id, func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		var err error
		if key, err = decodeKey(old); err != nil {
			return nil, fmt.Errorf("%w: key %q can't be read: %w", ErrUnavailable, id, err)
		}
		if version != 0 && key.Version != version {
			return nil, ErrChanged
		}
		if err := edit(key); err != nil {
			return nil, err
		}
		if err := key.check(); err != nil {
			return nil, err
		}
		key.Updated = r.now()
		key.Version++
		return encodeKey(key)
	})
	if err != nil {
		return nil, err
	}
	r.audit(KindKey, id, action, actor)
	return key, nil
}

// newSecret returns the stored form of secret.
func newSecret(secret string, now time.Time) Secret {
	return Secret{Hash: keys.HashSecret(secret), Last4: secret[len(secret)-4:], Created: now}
}

// now returns the time in UTC, truncated to seconds.
func (r *Registry) now() time.Time { return r.options.Now().UTC().Truncate(time.Second) }

func (r *Registry) audit(kind Kind, id, action, actor string) {
	if r.options.Audit != nil {
		r.options.Audit(Audit{kind, id, action, actor})
	}
}
