package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// series counts the gate's own series in the metrics.
func (v *target) series() (n int) {
	for line := range strings.Lines(v.metrics()) {
		if strings.HasPrefix(line, "pinegate_") {
			n++
		}
	}
	return n
}

func TestCallersMakeNoSeries(t *testing.T) {
	v := attack(t, setup{gate: "model gpt-* {\nprice input 1\n}\nmodel known {\nprice input 1\n}\nkey bob {env.OTHER_KEY} {\nmodels none\n}"})
	random := func(alphabet string) string {
		var b strings.Builder
		for range 1 + rand.IntN(40) {
			b.WriteByte(alphabet[rand.IntN(len(alphabet))])
		}
		return b.String()
	}
	const letters, paths = "abcXYZ019-_.:/ '{}\\u0041=,", "abcXYZ019-_./%2"
	once := func(i int) {
		name := fmt.Sprint(random(letters), i)
		v.ask("POST", "/v1/chat/completions", callerKey, chatBody(name, "x"))
		v.ask("POST", "/v1/chat/completions", callerKey, chatBody("gpt-"+name, "x"))
		v.ask("POST", "/v1/chat/completions", callerKey, chatBody("known", "x"))
		v.ask("POST", "/v1/chat/completions", otherKey, chatBody(name, "x"))
		v.ask("POST", "/v1/chat/completions", "sk-"+fmt.Sprintf("%030d", i), "{}")
		v.ask("POST", "/v1/completions", callerKey, `{"model":"m","max_tokens":-1}`)
		v.rawOne(t, request(fmt.Sprintf("M%d /%s", i, strings.ReplaceAll(random(paths), "%", "%2")), ""))
		v.rawOne(t, request(fmt.Sprintf("GET /v1/models/%s%d", random("abc/."), i), "", bearerKey))
		v.rawOne(t, request(fmt.Sprintf("GET /v1/responses/resp_%d", i), "", bearerKey))
		v.rawOne(t, request("GET /v1/usage", "", fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i%250), fmt.Sprintf("User-Agent: agent/%d", i)))
	}
	for i := range 10 { // until each kind of answer has its series
		once(i)
	}
	before := v.series()
	var callers sync.WaitGroup
	for c := range 4 {
		callers.Go(func() {
			for i := range 50 {
				once(1000 + 100*c + i)
			}
		})
	}
	callers.Wait()
	if after := v.series(); after != before || before == 0 {
		t.Errorf("2,000 requests made of %d series %d\n%s", before, after, v.metrics())
	}
	for _, label := range []string{`model="other"`, `model="gpt-*"`, `model="known"`} {
		if !strings.Contains(v.metrics(), label) {
			t.Errorf("no series has %s", label)
		}
	}
}

// The audit of the target finds lines that are not one JSON value; here it is
// seen that the names do stand in the log, as they are.
func TestNamesCanNotForgeLogLinesOrHeaders(t *testing.T) {
	v := attack(t, setup{})
	for _, model := range []string{
		`quoted "name"`, `{"level":"error","msg":"forged"}`, `back\slash`, `tab-free </script>`, "\u202eright to left", "emoji \U0001f4a9", "a: b", "%0d%0aSet-Cookie: a=b", `\u000aescaped twice`,
	} {
		body, err := json.Marshal(map[string]any{"model": model, "messages": []any{}})
		if err != nil {
			t.Fatal(err)
		}
		a := v.ask("POST", "/v1/chat/completions", callerKey, string(body))
		if a.status != 200 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%q: %d %v", model, a.status, a.header)
		}
		eventually(t, fmt.Sprintf("%q stands in the log", model), func() bool {
			for line := range strings.Lines(v.Logs.String()) {
				var entry struct{ Model, Logger string }
				if json.Unmarshal([]byte(line), &entry) == nil && entry.Model == model && strings.HasPrefix(entry.Logger, "http.log.access") {
					return true
				}
			}
			return false
		})
	}
	for _, c := range []struct{ line, header string }{
		{chatLine + "%0d%0aSet-Cookie:%20a=b", "X: y"},
		{"GET /v1/models/%1b%5b31m%0aforged", bearerKey},
		{"GET /v1/models/m%e2%80%a8x", bearerKey},
		{"GET /v1/responses/a%0ab", bearerKey},
		{chatLine, "User-Agent: a\x1b[31m"},
		{chatLine, "X-Request-Id: \x1b[31mforged"},
	} {
		a := v.rawOne(t, request(c.line, "", c.header))
		if a.status != 400 && a.status != 404 || a.header.Get("Set-Cookie") != "" || strings.Contains(a.body, "\x1b") {
			t.Errorf("%q: %d %v %q", c, a.status, a.header, a.body)
		}
	}
}

func TestHiddenModelsStandNowhere(t *testing.T) {
	const hidden = "model-codename-8c2f"
	v := attack(t, setup{global: "pinegate {\nmetrics {\nhide_models\n}\n}", gate: `
		model ` + hidden + ` {
			limit 2 requests/hour
		}
		key bob {env.OTHER_KEY} {
			models none
		}`})
	for i, want := range []int{200, 200, 429} {
		if a := v.ask("POST", "/v1/chat/completions", callerKey, chatBody(hidden, promptCanary)); a.status != want {
			t.Errorf("request %d: %d", i+1, a.status)
		}
	}
	v.ask("POST", "/v1/chat/completions", otherKey, chatBody(hidden, promptCanary))
	search(t, "the metrics", v.metrics(), []string{hidden})
	v.logged(t, `"msg":"request refused"`)
	for line := range strings.Lines(v.Logs.String()) {
		if strings.Contains(line, `"http.auto_https"`) {
			continue // the config, at level debug
		}
		search(t, "the log", line, []string{hidden})
	}
}
