package integration

import (
	"fmt"
	"testing"
)

const slowDown = "429 rate_limit_error slow_down null"

// guess sends bad keys until the throttle refuses, and returns how many were
// looked at.
func (v *target) guess(t *testing.T, header func(i int) string) (looked int) {
	t.Helper()
	for ; looked < 400; looked++ {
		a := v.rawOne(t, request(chatLine, "", fmt.Sprintf("Authorization: Bearer sk-guess-%012d", looked), header(looked)))
		if a.status == 401 {
			continue
		}
		if got := refusal(t, a); got != slowDown || a.header.Get("Retry-After") == "" || a.header.Get("Retry-After-Ms") == "" {
			t.Fatalf("guess %d: %s %v", looked, got, a.header)
		}
		return looked
	}
	t.Fatal("400 guesses were looked at")
	return 0
}

func TestThrottleStopsGuessesAndNotGoodCallers(t *testing.T) {
	v := attack(t, setup{gate: "throttle 1/hour burst 100\nkey bob {env.OTHER_KEY}"})
	chat := func(key string) answer {
		return v.rawOne(t, request(chatLine, chatBody("m", promptCanary), "X-Api-Key: "+key, "X-Forwarded-For: 203.0.113.9"))
	}
	if a := chat(callerKey); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	looked := v.guess(t, func(i int) string {
		return fmt.Sprintf("X-Forwarded-For: 198.51.100.%d\r\nX-Real-Ip: 192.0.2.%d\r\nForwarded: for=192.0.2.%d\r\nTrue-Client-Ip: 192.0.2.%d\r\nCf-Connecting-Ip: 192.0.2.%d", i%250, i%250, i%250, i%250, i%250)
	})
	if looked != 100 {
		t.Errorf("%d guesses were looked at, want 100: one bucket, whatever addresses a caller claims", looked)
	}
	if a := chat(callerKey); a.status != 200 {
		t.Errorf("a key that was good before is refused: %d %s", a.status, a.body)
	}
	v.unseen(t, func() {
		for name, want := range map[string]string{
			otherKey:                      slowDown, // good, but never seen from here
			"sk-000000000000000000000000": slowDown,
			"":                            slowDown,
		} {
			if got := refusal(t, chat(name)); got != want {
				t.Errorf("%q: %s", name, got)
			}
		}
		if got := refusal(t, v.rawOne(t, request("POST /v1/messages", ""))); got != "anthropic 429 rate_limit_error" {
			t.Error(got)
		}
		if got := refusal(t, v.rawOne(t, request("GET /v1/usage", "", "Authorization: Bearer "+adminKey))); got != slowDown {
			t.Errorf("usage: %s", got)
		}
		if a := v.rawOne(t, request("GET /healthz", "")); a.status != 200 {
			t.Errorf("healthz: %d", a.status)
		}
	})
	v.logged(t, "not among trusted_proxies")
}

// Behind a trusted proxy the addresses are the callers' own; those of one IPv6
// network are one.
func TestThrottleCountsNetworksBehindTrustedProxies(t *testing.T) {
	v := attack(t, setup{gate: "throttle 1/hour burst 20", global: "servers {\ntrusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict\n}"})
	for name, header := range map[string]func(i int) string{
		"one /64": func(i int) string { return fmt.Sprintf("X-Forwarded-For: 2001:db8:1:2:%x::%x", i*7, i) },
		"one address, spelled in many ways": func(i int) string {
			return "X-Forwarded-For: " + []string{"192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207", "192.0.2.7:1234"}[i%4]
		},
		"lies in front of the proxy's own word": func(i int) string { return fmt.Sprintf("X-Forwarded-For: 10.0.0.%d, 192.0.2.8", i) },
	} {
		t.Run(name, func(t *testing.T) {
			if looked := v.guess(t, header); looked != 20 {
				t.Errorf("%d guesses were looked at, want 20", looked)
			}
		})
	}
	a := v.rawOne(t, request(chatLine, chatBody("m", promptCanary), bearerKey, "X-Forwarded-For: 2001:db8:1:3::1"))
	if a.status != 200 {
		t.Errorf("the network beside it is refused too: %d", a.status)
	}
}
