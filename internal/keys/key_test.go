package keys

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// keyOf returns the key of a config that must be valid.
func keyOf(t *testing.T, c Config) *Key {
	t.Helper()
	if c.ID == "" {
		c.ID = "k"
	}
	k, err := c.Key()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func limits(t *testing.T, texts ...string) []limiter.Limit {
	t.Helper()
	list := make([]limiter.Limit, len(texts))
	for i, text := range texts {
		if err := list[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func TestConfigMarshalsAsItIsWritten(t *testing.T) {
	const text = `{"id":"ci","secrets":["{env.CI}"],"team":"build","models":["gpt-*"],"endpoints":["chat"],` +
		`"limits":["60 requests/minute burst 10","8 concurrent"],"expires":"2030-01-31","allow_ip":["10.0.0.0/8"],"disabled":true}`
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(c)
	if err != nil || string(out) != text {
		t.Errorf("got %s, %v\nwant %s", out, err, text)
	}
	k := keyOf(t, c)
	if k.ID != "ci" || k.Team != "build" || !k.Disabled || !reflect.DeepEqual(k.Limits, c.Limits) || len(k.Limits) != 2 {
		t.Errorf("key: %+v", k)
	}
	minimal, err := json.Marshal(Config{ID: "a", Secrets: []string{"{env.A}"}})
	if err != nil || string(minimal) != `{"id":"a","secrets":["{env.A}"]}` {
		t.Errorf("minimal: %s, %v", minimal, err)
	}
}

func TestConfigIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   []string // parts of the message
	}{
		"no id":               {Config{}, []string{"id of a key", "empty"}},
		"id with a slash":     {Config{ID: "a/b"}, []string{"id of a key", "letters"}},
		"id with a space":     {Config{ID: "a b"}, []string{"letters"}},
		"id with a newline":   {Config{ID: "a\n"}, []string{"letters"}},
		"id not ASCII":        {Config{ID: "é"}, []string{"letters"}},
		"id of 65":            {Config{ID: strings.Repeat("a", 65)}, []string{"1 to 64"}},
		"id that is a secret": {Config{ID: validKey[:64]}, []string{"looks like a secret"}},
		"team":                {Config{Spec: Spec{Team: "a b"}}, []string{`key "k"`, "team", "letters"}},
		"models empty":        {Config{Spec: Spec{Models: []string{}}}, []string{`key "k"`, "models", `["none"]`}},
		"models none and one": {Config{Spec: Spec{Models: []string{"gpt", "none"}}}, []string{"models", "none stands alone"}},
		"models bad pattern":  {Config{Spec: Spec{Models: []string{"a b"}}}, []string{"models", "white space"}},
		"endpoints empty":     {Config{Spec: Spec{Endpoints: []string{}}}, []string{"endpoints", "empty"}},
		"endpoint unknown":    {Config{Spec: Spec{Endpoints: []string{"chat", "count_tokens"}}}, []string{`"count_tokens"`, "chat, completions"}},
		"expires":             {Config{Spec: Spec{Expires: "tomorrow"}}, []string{"expires", `"tomorrow"`, "RFC 3339"}},
		"expires no such day": {Config{Spec: Spec{Expires: "2030-02-30"}}, []string{"expires"}},
		"expires no zone":     {Config{Spec: Spec{Expires: "2030-02-03T10:00:00"}}, []string{"expires"}},
		"allow_ip empty":      {Config{Spec: Spec{AllowIP: []string{}}}, []string{"allow_ip", "empty"}},
		"allow_ip a name":     {Config{Spec: Spec{AllowIP: []string{"localhost"}}}, []string{"allow_ip", `"localhost"`}},
		"allow_ip octal":      {Config{Spec: Spec{AllowIP: []string{"010.0.0.1"}}}, []string{"allow_ip"}},
		"allow_ip bits":       {Config{Spec: Spec{AllowIP: []string{"10.0.0.0/33"}}}, []string{"allow_ip"}},
		"allow_ip zone":       {Config{Spec: Spec{AllowIP: []string{"fe80::1%eth0"}}}, []string{"allow_ip"}},
		"allow_ip mapped":     {Config{Spec: Spec{AllowIP: []string{"::ffff:0:0/90"}}}, []string{"allow_ip", "beyond"}},
		"limits twice":        {Config{Spec: Spec{Limits: limits(t, "5 requests/minute", "8 concurrent", "7 requests/minute")}}, []string{"limits", "5 requests/minute", "7 requests/minute"}},
	} {
		if c.config.ID == "" && name != "no id" {
			c.config.ID = "k"
		}
		k, err := c.config.Key()
		if err == nil || k != nil {
			t.Errorf("%s: %+v, %v", name, k, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want a message with %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), validKey[8:20]) {
			t.Errorf("%s: the message tells a secret: %v", name, err)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, id := range []string{"a", "A.b_c-9", "..", strings.Repeat("z", 64)} {
		if err := CheckID(id); err != nil {
			t.Errorf("CheckID(%q): %v", id, err)
		}
	}
}

func TestSameUnitInAnotherWindowIsAnotherLimit(t *testing.T) {
	k := keyOf(t, Config{Spec: Spec{Limits: limits(t, "5 requests/minute", "50 requests/hour", "5 tokens/minute")}})
	if len(k.Limits) != 3 {
		t.Errorf("limits: %v", k.Limits)
	}
}

func TestAllowsModel(t *testing.T) {
	for _, c := range []struct {
		models []string
		name   string
		want   bool
	}{
		{nil, "gpt-4o", true},
		{nil, "", true},
		{[]string{"none"}, "gpt-4o", false},
		{[]string{"none"}, "none", false},
		{[]string{"gpt-*", "o1"}, "gpt-4o", true},
		{[]string{"gpt-*", "o1"}, "o1", true},
		{[]string{"gpt-*", "o1"}, "o1-mini", false},
		{[]string{"*"}, "anything", true},
	} {
		if got := keyOf(t, Config{Spec: Spec{Models: c.models}}).AllowsModel(c.name); got != c.want {
			t.Errorf("%q allows %s: %t", c.models, c.name, got)
		}
	}
}

func TestAllowsEndpoint(t *testing.T) {
	open, chat := keyOf(t, Config{}), keyOf(t, Config{Spec: Spec{Endpoints: []string{"chat", "messages"}}})
	for _, group := range wire.Groups() {
		if !open.AllowsEndpoint(group) {
			t.Errorf("a key without endpoints may not use %s", group)
		}
		if want := group == "chat" || group == "messages"; chat.AllowsEndpoint(group) != want {
			t.Errorf("chat and messages allow %s: %t", group, !want)
		}
	}
	if !chat.AllowsEndpoint("") {
		t.Error("the gate's own endpoints need a permission")
	}
	// Each word of the configuration is known.
	keyOf(t, Config{Spec: Spec{Endpoints: []string{"chat", "completions", "responses", "embeddings", "messages", "images", "audio", "moderations", "rerank"}}})
}

func TestAllowsIP(t *testing.T) {
	for _, c := range []struct {
		networks []string
		addr     string
		want     bool
	}{
		{nil, "203.0.113.7", true},
		{[]string{"10.0.0.0/8"}, "10.255.0.1", true},
		{[]string{"10.0.0.0/8"}, "11.0.0.1", false},
		{[]string{"10.0.0.0/8"}, "::ffff:10.1.2.3", true},
		{[]string{"10.1.2.3/8"}, "10.200.0.1", true},
		{[]string{"10.0.0.1"}, "10.0.0.1", true},
		{[]string{"10.0.0.1"}, "10.0.0.2", false},
		{[]string{"::ffff:10.0.0.1"}, "10.0.0.1", true},
		{[]string{"::ffff:10.0.0.0/104"}, "10.9.9.9", true},
		{[]string{"::ffff:10.0.0.0/104"}, "11.9.9.9", false},
		{[]string{"0.0.0.0/0"}, "2001:db8::1", false},
		{[]string{"::/0"}, "2001:db8::1", true},
		{[]string{"::/0"}, "10.0.0.1", false},
		{[]string{"2001:db8::/32", "192.0.2.0/24"}, "2001:db8:1::1", true},
		{[]string{"fe80::/10"}, "fe80::1%eth0", true},
		{[]string{"2001:db8::1"}, "2001:db8::2", false},
	} {
		if got := keyOf(t, Config{Spec: Spec{AllowIP: c.networks}}).AllowsIP(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%q allows %s: %t", c.networks, c.addr, got)
		}
	}
	if keyOf(t, Config{Spec: Spec{AllowIP: []string{"0.0.0.0/0", "::/0"}}}).AllowsIP(netip.Addr{}) {
		t.Error("an unknown address is in a network")
	}
}

func TestExpiryIsExact(t *testing.T) {
	for _, c := range []struct{ expires, end string }{
		{"2030-01-31", "2030-02-01T00:00:00Z"}, // works on its last day
		{"2032-02-29", "2032-03-01T00:00:00Z"},
		{"2030-01-31T18:00:00Z", "2030-01-31T18:00:00Z"},
		{"2030-01-31T18:00:00+02:00", "2030-01-31T16:00:00Z"},
		{"2030-01-31T18:00:00.5Z", "2030-01-31T18:00:00.5Z"},
	} {
		end, err := time.Parse(time.RFC3339Nano, c.end)
		if err != nil {
			t.Fatal(err)
		}
		k := keyOf(t, Config{Spec: Spec{Expires: c.expires}})
		for offset, want := range map[time.Duration]bool{-time.Second: false, -1: false, 0: true, time.Second: true} {
			if got := k.Expired(end.Add(offset)); got != want {
				t.Errorf("%s: %v after %v expired: %t", c.expires, offset, end, got)
			}
		}
	}
	if keyOf(t, Config{}).Expired(time.Now().AddDate(1000, 0, 0)) {
		t.Error("a key without an end has ended")
	}
}
