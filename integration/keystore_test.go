package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// keysAPI asks the control plane by Caddy's admin endpoint.
func (g *gate) keysAPI(method, path, body string, status int) (text string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.admin+"/pinegate/"+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		g.t.Fatalf("%s %s: %d %s (%v), want %d", method, path, res.StatusCode, content, err, status)
	}
	return string(content)
}

// makeKey makes a key at runtime and returns its secret.
func (g *gate) makeKey(body string) string {
	g.t.Helper()
	var created struct{ Key string }
	if err := json.Unmarshal([]byte(g.keysAPI("POST", "keys", body, http.StatusCreated)), &created); err != nil {
		g.t.Fatal(err)
	}
	return created.Key
}

// runtimeBlock is a gate whose keys are made at runtime, but for one.
const runtimeBlock = `
		keys store
		key fixed sha256:c9b2ba3e6cbbd4ccf66c4cc2a7ca8eb2fee37c3aa6ff4f0f9b1d5f9ad33f5b5e
		backend demo {
			api echo
		}`

func TestKeysThatAreMadeAtRuntimeOpenTheGateUntilRevoked(t *testing.T) {
	g := newGate(t)
	site := g.caddyfile("pinegate {\nstore file "+g.dir+"/store\n}", runtimeBlock)
	g.start(site)
	g.keysAPI("POST", "teams", `{"id":"search","limits":["3 requests/hour"]}`, http.StatusCreated)
	alice := g.makeKey(`{"id":"alice","team":"search"}`)
	bob := g.makeKey(`{"id":"bob","models":["echo"]}`)
	for who, key := range map[string]string{"alice": alice, "bob": bob} {
		eventually(t, who+" is let in", func() bool { return g.do("GET", "/v1/key", key, "").status == http.StatusOK })
	}
	if a := g.chat(bob, "other", "x"); a.status != http.StatusForbidden {
		t.Errorf("a model that the key may not use: %d", a.status)
	}
	atMost(t, 3, func(int) answer { return g.chat(alice, "echo", "x") }) // the team's limit

	// A reload and a restart forget neither the keys nor what is known of them.
	if status := g.reload(strings.Replace(site, "api echo", "api echo\nmodels *", 1)); status != http.StatusOK {
		t.Fatalf("reloading: %d", status)
	}
	if a := g.chat(bob, "echo", "x"); a.status != http.StatusOK {
		t.Errorf("right after a reload: %d %s", a.status, a.body)
	}
	g.keysAPI("POST", "keys/bob/revoke", "", http.StatusOK)
	eventually(t, "bob is refused", func() bool { return g.chat(bob, "echo", "x").status == http.StatusUnauthorized })
	for _, secret := range []string{alice, bob} {
		if strings.Contains(g.Logs.String(), secret) {
			t.Error("a secret stands in the log")
		}
	}
	if !strings.Contains(g.Logs.String(), `"action":"revoke","kind":"key","id":"bob","actor":"admin endpoint"`) {
		t.Error("the revocation was not audited")
	}
}

func TestKeysHoldOnAllGatesOfARedisAndAreNotUnknownWhileItIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Standalone(t, redistest.Options{Password: redisPassword, Config: []string{"appendonly yes", "appendfsync always"}})
	all := startGates(t, 2, server, redisStore(t, server), runtimeBlock)
	alice := all[0].makeKey(`{"id":"alice"}`)
	eventually(t, "the other gate lets alice in", func() bool { return all[1].chat(alice, "echo", "x").status == http.StatusOK })
	all[1].keysAPI("PATCH", "keys/alice", `{"disabled":true}`, http.StatusOK)
	eventually(t, "the first gate refuses alice", func() bool { return all[0].chat(alice, "echo", "x").status == http.StatusUnauthorized })
	all[1].keysAPI("PATCH", "keys/alice", `{"disabled":false}`, http.StatusOK)
	eventually(t, "the first gate lets alice in again", func() bool { return all[0].chat(alice, "echo", "x").status == http.StatusOK })

	server.Kill()
	all.waitForStore(t, false)
	if a := all[0].chat(alice, "echo", "x"); a.status != http.StatusOK {
		t.Errorf("a key that is known while Redis is away: %d %s", a.status, a.body)
	}
	eventually(t, "a stranger does not learn that its key is wrong", func() bool {
		return all[0].chat("a-secret-that-nobody-has-made", "echo", "x").status == http.StatusServiceUnavailable
	})
	server.Restart()
	all.waitForStore(t, true)
	eventually(t, "a stranger learns it", func() bool {
		return all[0].chat("a-secret-that-nobody-has-made", "echo", "x").status == http.StatusUnauthorized
	})
}
