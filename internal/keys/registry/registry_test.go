//go:build unix

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/redistest"
)

// backings are the storages that the tests run with.
var backings = map[string]func(t *testing.T) func() (Storage, error){
	"memory": func(*testing.T) func() (Storage, error) {
		m := NewMemory()
		return func() (Storage, error) { return m, nil }
	},
	"bolt": func(t *testing.T) func() (Storage, error) {
		path := filepath.Join(t.TempDir(), "new", "keys.db")
		return func() (Storage, error) { return OpenBolt(path) }
	},
	"redis": func(t *testing.T) func() (Storage, error) {
		// A user with access to the keys with the prefix only, as the docs advise.
		server := redistest.Standalone(t, redistest.Options{User: "gate", UserPassword: "hush", UserRules: "~pinegate:* +@all"})
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "gate", Password: "hush"})
		t.Cleanup(func() { _ = client.Close() })
		return func() (Storage, error) { return NewRedis(client, "pinegate"), nil }
	},
}

// clock is a wall clock that is advanced by tests only.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// over runs a test with each storage.
func over(t *testing.T, test func(t *testing.T, r *Registry, c *clock)) {
	for name, open := range backings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			r := New(open(t), Options{Now: c.Now})
			t.Cleanup(func() {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, r, c)
		})
	}
}

// opened returns the ids of the keys that a secret opens.
func opened(r *Registry, c *clock, secret string) (ids []string) {
	for _, k := range r.RuntimeKeys(c.Now()).Keys {
		for _, h := range k.Hashes {
			if h.Equal(keys.HashSecret(secret)) {
				ids = append(ids, k.Key.ID)
			}
		}
	}
	return ids
}

func create(t *testing.T, r *Registry, id string, spec KeySpec) string {
	t.Helper()
	_, secret, err := r.CreateKey(context.Background(), "test", id, "live", spec)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestAKeyOpensUntilItIsRevokedOrDeleted(t *testing.T) {
	over(t, func(t *testing.T, r *Registry, c *clock) {
		ctx := context.Background()
		a, b := create(t, r, "alice", KeySpec{Spec: keys.Spec{Team: "search"}}), create(t, r, "bob", KeySpec{})
		if got := opened(r, c, a); len(got) != 1 || got[0] != "alice" {
			t.Errorf("alice's secret opens %q", got)
		}
		if shown, err := json.Marshal(r.Snapshot().Key("alice")); err != nil || strings.Contains(string(shown), a) ||
			strings.Contains(string(shown), keys.HashSecret(a).String()[7:]) || !strings.Contains(string(shown), a[len(a)-4:]) {
			t.Errorf("the key is shown as %s (%v)", shown, err)
		}
		if _, _, err := r.CreateKey(ctx, "test", "alice", "live", KeySpec{}); !errors.Is(err, ErrExists) {
			t.Errorf("a second alice: %v", err)
		}
		if key, err := r.RevokeKey(ctx, "test", "alice"); err != nil || key.Revoked == nil || len(opened(r, c, a)) != 0 {
			t.Errorf("revoked: %v, %v, opens %q", key, err, opened(r, c, a))
		}
		if _, err := r.UpdateKey(ctx, "test", "alice", []byte(`{"disabled":false}`), 0); !errors.Is(err, ErrRevoked) {
			t.Errorf("changing a revoked key: %v", err)
		}
		if _, _, err := r.RotateKey(ctx, "test", "alice", "live", 0); !errors.Is(err, ErrRevoked) {
			t.Errorf("rotating a revoked key: %v", err)
		}
		if err := r.DeleteKey(ctx, "test", "bob"); err != nil || len(opened(r, c, b)) != 0 || r.Snapshot().Key("bob") != nil {
			t.Errorf("deleted: %v", err)
		}
		if err := r.DeleteKey(ctx, "test", "bob"); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

func TestRotationKeepsTheOldSecretForItsGrace(t *testing.T) {
	over(t, func(t *testing.T, r *Registry, c *clock) {
		ctx := context.Background()
		first := create(t, r, "alice", KeySpec{})
		_, second, err := r.RotateKey(ctx, "test", "alice", "live", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if len(opened(r, c, first)) != 1 || len(opened(r, c, second)) != 1 {
			t.Error("both secrets should open the key")
		}
		// Another rotation must not extend the life of the first secret.
		_, third, err := r.RotateKey(ctx, "test", "alice", "test", 2*time.Hour)
		if err != nil || !strings.HasPrefix(third, "pg_test_") {
			t.Fatalf("%.8s, %v", third, err)
		}
		if until := r.RuntimeKeys(c.Now()).Until; !until.Equal(c.Now().Add(time.Hour)) {
			t.Errorf("it changes by itself at %v", until)
		}
		c.Add(time.Hour)
		if len(opened(r, c, first)) != 0 || len(opened(r, c, second)) != 1 {
			t.Error("the first secret should have ended, and the second not")
		}
		if key, _, err := r.RotateKey(ctx, "test", "alice", "live", 0); err != nil || len(key.Secrets) != 1 || len(opened(r, c, third)) != 0 {
			t.Errorf("without grace the old ones stay: %v, %v", key, err)
		}
		for range 2 * maxSecrets {
			key, _, err := r.RotateKey(ctx, "test", "alice", "live", time.Hour)
			if err != nil || len(key.Secrets) > maxSecrets {
				t.Fatalf("%d secrets, %v", len(key.Secrets), err)
			}
		}
	})
}

func TestAChangeIsAMergePatch(t *testing.T) {
	over(t, func(t *testing.T, r *Registry, _ *clock) {
		ctx := context.Background()
		create(t, r, "alice", KeySpec{Metadata: map[string]string{"owner": "a", "room": "1"}, Spec: keys.Spec{Team: "search", Models: []string{"gpt-*"}}})
		key, err := r.UpdateKey(ctx, "test", "alice", []byte(`{"models":null,"limits":["3 requests/hour"],"metadata":{"owner":"b"}}`), 1)
		if err != nil {
			t.Fatal(err)
		}
		if key.Team != "search" || key.Models != nil || len(key.Limits) != 1 || key.Metadata["owner"] != "b" || key.Metadata["room"] != "1" || key.Version != 2 {
			t.Errorf("%+v", key)
		}
		if got := r.Snapshot().Key("alice"); got.Version != 2 || len(got.parsed.Limits) != 1 {
			t.Errorf("the snapshot has %+v", got)
		}
		if _, err := r.UpdateKey(ctx, "test", "alice", []byte(`{"disabled":true}`), 1); !errors.Is(err, ErrChanged) {
			t.Errorf("a change of an old version: %v", err)
		}
		for patch, want := range map[string]string{
			`{"limits":["3 pears/hour"]}`: "limits",
			`{"modles":["a"]}`:            "modles: unknown field",
			`{"models":[]}`:               "models: the list is empty",
			`{"endpoints":["chat","x"]}`:  `unknown endpoint "x"`,
			`{"expires":"soon"}`:          "expires",
			`{"allow_ip":["1.2.3"]}`:      "allow_ip",
			`{"disabled":"yes"}`:          "disabled",
			`{"team":"a b"}`:              "team",
			`{"team":"a","team":"b"}`:     "repeated",
			`{"metadata":{"":"x"}}`:       "metadata",
			`[]`:                          "object",
			`null`:                        "object",
		} {
			var bad *InvalidError
			if _, err := r.UpdateKey(ctx, "test", "alice", []byte(patch), 0); !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", patch, err)
			}
		}
		if got := r.Snapshot().Key("alice").Version; got != 2 {
			t.Errorf("refused changes made version %d", got)
		}
	})
}

func TestATeamIsKeptWhileKeysAreOfIt(t *testing.T) {
	over(t, func(t *testing.T, r *Registry, c *clock) {
		ctx := context.Background()
		spec, err := Decode[TeamSpec]([]byte(`{"models":["gpt-*"],"limits":["25 usd/month"]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.CreateTeam(ctx, "test", "search", spec); err != nil {
			t.Fatal(err)
		}
		create(t, r, "alice", KeySpec{Spec: keys.Spec{Team: "search"}})
		if teams := r.RuntimeKeys(c.Now()).Teams; len(teams) != 1 || len(teams[0].Limits) != 1 || !teams[0].Models.Match("gpt-5") {
			t.Errorf("teams: %+v", teams)
		}
		var bad *InvalidError
		if err := r.DeleteTeam(ctx, "test", "search"); !errors.As(err, &bad) || !strings.Contains(err.Error(), "alice") {
			t.Errorf("deleting a team with keys: %v", err)
		}
		if team, err := r.UpdateTeam(ctx, "test", "search", []byte(`{"models":["none"]}`), 0); err != nil || team.parsed.Models.Match("gpt-5") {
			t.Errorf("%+v, %v", team, err)
		}
		if err := r.DeleteKey(ctx, "test", "alice"); err != nil {
			t.Fatal(err)
		}
		if err := r.DeleteTeam(ctx, "test", "search"); err != nil {
			t.Error(err)
		}
	})
}

func TestKeysSurviveAnotherOpening(t *testing.T) {
	for _, name := range []string{"bolt", "redis"} {
		t.Run(name, func(t *testing.T) {
			open, c := backings[name](t), newClock()
			first := New(open, Options{Now: c.Now})
			secret := create(t, first, "alice", KeySpec{})
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			second := New(open, Options{Now: c.Now})
			defer second.Close()
			if err := second.Refresh(context.Background()); err != nil || len(opened(second, c, secret)) != 1 {
				t.Errorf("%v, opens %q", err, opened(second, c, secret))
			}
		})
	}
}

func TestConcurrentChangesAreAllMade(t *testing.T) {
	over(t, func(t *testing.T, r *Registry, _ *clock) {
		create(t, r, "alice", KeySpec{})
		var done sync.WaitGroup
		for i := range 8 {
			done.Go(func() {
				patch := fmt.Sprintf(`{"metadata":{"n%d":"x"}}`, i)
				if _, err := r.UpdateKey(context.Background(), "test", "alice", []byte(patch), 0); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		if key := r.Snapshot().Key("alice"); len(key.Metadata) != 8 || key.Version != 9 {
			t.Errorf("%+v", key)
		}
	})
}

func TestAnEntryThatCannotBeReadIsLeftOut(t *testing.T) {
	m := NewMemory()
	var told []string
	r := New(func() (Storage, error) { return m, nil }, Options{OnError: func(err error) { told = append(told, err.Error()) }})
	create(t, r, "alice", KeySpec{})
	for id, value := range map[string]string{"b": `{"id":"b"`, "c": `{"id":"d"}`, "e": `{"id":"e","secrets":[{"last4":"x"}]}`} {
		if err := m.Update(context.Background(), KindKey, id, func([]byte) ([]byte, error) { return []byte(value), nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Refresh(context.Background()); err != nil || len(r.Snapshot().Keys()) != 1 || len(told) != 3 {
		t.Errorf("%v, %d keys, told %q", err, len(r.Snapshot().Keys()), told)
	}
}

func TestAuditTellsWhoChangedWhat(t *testing.T) {
	var told []Audit
	m := NewMemory()
	r := New(func() (Storage, error) { return m, nil }, Options{Audit: func(a Audit) { told = append(told, a) }})
	create(t, r, "alice", KeySpec{})
	if _, err := r.RevokeKey(context.Background(), "ops", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RevokeKey(context.Background(), "ops", "bob"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	want := []Audit{{KindKey, "alice", "create", "test"}, {KindKey, "alice", "revoke", "ops"}}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %v", told)
	}
}
