package keys

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseFile(t *testing.T) {
	const good = `{"id":"a","secrets":["` + clearSecret + `"]}`
	for name, c := range map[string]struct {
		content string
		ids     string
	}{
		"array":          {"[" + good + "]", "a"},
		"object":         {`{"keys":[` + good + `]}`, "a"},
		"empty array":    {"[]", ""},
		"empty keys":     {`{"keys":[]}`, ""},
		"white space":    {" \n[\n\t" + good + "\r\n]\n\n", "a"},
		"two":            {"[" + good + `,{"id":"b","secrets":["{env.B}"],"limits":["8 concurrent"],"disabled":true}]`, "a b"},
		"null as absent": {`[{"id":"a","secrets":["` + clearSecret + `"],"team":null,"models":null,"endpoints":null,"limits":null,"expires":null,"allow_ip":null,"disabled":null}]`, "a"},
	} {
		set, err := parseFile([]byte(c.content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var ids []string
		for _, k := range set.keys {
			ids = append(ids, k.ID)
		}
		if got := strings.Join(ids, " "); got != c.ids {
			t.Errorf("%s: keys %s, want %s", name, got, c.ids)
		}
	}
}

func TestParseFileFindsSecretsOfEachKind(t *testing.T) {
	hash := HashSecret(otherSecret)
	set, err := parseFile(fmt.Appendf(nil, `[{"id":"a","secrets":[%q,%q,"{env.A}"]}]`, clearSecret, hash))
	if err != nil {
		t.Fatal(err)
	}
	if len(set.entries) != 2 || set.entries[0].hash != HashSecret(clearSecret) || set.entries[1].hash != hash {
		t.Errorf("entries: %v", set.entries)
	}
	if len(set.references) != 1 || set.references[0].placeholder.placeholder != "{env.A}" || set.references[0].key != set.keys[0] {
		t.Errorf("references: %v", set.references)
	}
	if !set.clear {
		t.Error("the clear secret went unnoticed")
	}
}

// broken are keys files that must be rejected. Each holds a secret, canary…,
// somewhere, which the message must not contain.
var broken = map[string]struct {
	content string
	want    []string // parts of the message
}{
	"empty":              {"", []string{"line 1", "ends too early"}},
	"not JSON":           {"\n\ncanary-0123456789-canary", []string{"line 3", "broken JSON"}},
	"cut":                {`[{"id":"a","secrets":["canary-0123456789-can`, []string{"line 1", "ends too early"}},
	"cut after a key":    {"[{\"id\":\"a\",\"secrets\":[\"canary-0123456789-canary\"]}\n", []string{"ends too early"}},
	"no comma":           {"[\n{\"id\":\"a\"\n\"secrets\":[\"canary-0123456789-canary\"]}]", []string{"line 3", "broken JSON"}},
	"trailing comma":     {`[{"id":"a","secrets":["canary-0123456789-canary"]},]`, []string{"line 1"}},
	"two arrays":         {"[]\n[]", []string{"line 2", "nothing after the keys"}},
	"a string":           {`"canary-0123456789-canary"`, []string{"array of keys"}},
	"null":               {`null`, []string{"array of keys"}},
	"keys an object":     {`{"keys":{"canary-0123456789-canary":{}}}`, []string{"array of keys"}},
	"no keys":            {`{}`, []string{"keys"}},
	"other field":        {`{"kys":[]}`, []string{"line 1", `unknown field "kys"`}},
	"secret as field":    {`{"canary-0123456789-canary":[]}`, []string{"unknown field", "not shown"}},
	"keys twice":         {`{"keys":[],"keys":[]}`, []string{`"keys" is there twice`}},
	"key a string":       {"[\n\"canary-0123456789-canary\"]", []string{"line 2", "object"}},
	"key null":           {`[null]`, []string{"object"}},
	"unknown field":      {"[\n{\"id\":\"a\",\n\"secret\":\"canary-0123456789-canary\"}]", []string{"line 3", `unknown field "secret"`, "/0"}},
	"field's case":       {`[{"ID":"a","secrets":["canary-0123456789-canary"]}]`, []string{`unknown field "ID"`}},
	"field twice":        {`[{"id":"a","id":"b","secrets":["canary-0123456789-canary"]}]`, []string{`"id" is there twice`}},
	"unknown secret":     {`[{"id":"a","canary-0123456789-canary":{"x":1}}]`, []string{"unknown field", "not shown"}},
	"deep in unknown":    {`[{"id":"a","canary-0123456789-canary":{"canary-0123456789-canary":1,}}]`, nil},
	"deep in an id":      {`[{"id":{"canary-0123456789-canary":{"x":1,}}}]`, []string{"line 1"}},
	"twice in a team":    {`[{"team":{"canary-0123456789-canary":{"x":1,"x":2}}}]`, []string{"line 1"}},
	"secrets a string":   {`[{"id":"a","secrets":"canary-0123456789-canary"}]`, []string{"wrong type", "/0/secrets"}},
	"secrets a number":   {`[{"id":"a","secrets":[12345678901234567890]}]`, []string{"wrong type", "/0/secrets/0"}},
	"disabled a text":    {`[{"id":"a","secrets":[],"disabled":"canary-0123456789-canary"}]`, []string{"wrong type", "/0/disabled"}},
	"bad limit":          {`[{"id":"a","secrets":["canary-0123456789-canary"],"limits":["6 apples/minute"]}]`, []string{"/0/limits/0", "apples"}},
	"bad limit, of some": {`{"keys":[{"id":"a","secrets":["{env.A}"]},` + "\n" + `{"id":"b","secrets":["canary-0123456789-canary"],"limits":["6 apples/minute"]}]}`, []string{"line 2", "/keys/1/limits/0", "apples"}},
	"no id":              {"[\n\n{\"secrets\":[\"canary-0123456789-canary\"]}]", []string{"line 3", "id of a key"}},
	"no secrets":         {"[{\"id\":\"a\"}]", []string{`key "a"`, "secrets", "none"}},
	"empty secret":       {`[{"id":"a","secrets":["canary-0123456789-canary",""]}]`, []string{`key "a"`, "secret 2 of 2", "empty"}},
	"short secret":       {`[{"id":"a","secrets":["canary"]}]`, []string{`key "a"`, "secret 1 of 1", "shorter"}},
	"space in secret":    {`[{"id":"a","secrets":["canary-0123456789 canary"]}]`, []string{`key "a"`, "white space"}},
	"secret twice":       {`[{"id":"a","secrets":["canary-0123456789-canary","canary-0123456789-canary"]}]`, []string{`key "a"`, "secret 2 of 2", "twice"}},
	"bad checksum":       {`[{"id":"a","secrets":["pg_live_canary"]}]`, []string{`key "a"`, "shorter"}},
	"second key":         {"[{\"id\":\"a\",\"secrets\":[\"canary-0123456789-canary\"]},\n{\"id\":\"b\",\"secrets\":[\"{canary}\"]}]", []string{"line 2", `key "b"`, "placeholder"}},
	"BOM":                {"\ufeff[]", []string{"broken JSON"}},
	"not UTF-8":          {"[{\"id\":\"\xff\"}]", []string{"broken JSON"}},
}

func TestBrokenFilesAreToldWithoutTheirSecrets(t *testing.T) {
	for name, c := range broken {
		set, err := parseFile([]byte(c.content))
		if err == nil || set != nil {
			t.Errorf("%s: %+v, %v", name, set, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want a message with %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "1234567890") {
			t.Errorf("%s: the message tells the secret: %v", name, err)
		}
	}
}

func TestDeepNestingIsRefused(t *testing.T) {
	for _, content := range []string{strings.Repeat("[", 100_000), `[{"id":` + strings.Repeat("[", 100_000)} {
		if _, err := parseFile([]byte(content)); err == nil {
			t.Errorf("%.20s… passes", content)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	for _, c := range broken {
		f.Add([]byte(c.content))
	}
	f.Add([]byte(`{"keys":[{"id":"a","secrets":["canary-0123456789-canary","{file./x}"],"limits":["60 requests/minute"]}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		set, err := parseFile(content)
		if (set == nil) == (err == nil) {
			t.Fatalf("%v, %v", set, err)
		}
		if err != nil {
			return
		}
		for _, k := range set.keys {
			if CheckID(k.ID) != nil {
				t.Fatalf("key %q", k.ID)
			}
		}
		for _, e := range set.entries {
			if e.key == nil || e.hash == (Hash{}) || e.hash == hashOfNothing {
				t.Fatalf("entry %v", e)
			}
		}
	})
}
