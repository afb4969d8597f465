package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	invalidKey = "401 invalid_request_error invalid_api_key null"
	noKey      = "401 invalid_request_error null null"
	unknownURL = "404 invalid_request_error unknown_url null"
)

// without drops what may differ between two answers that mean the same.
func without(header http.Header) string {
	header = header.Clone()
	for _, name := range []string{"X-Request-Id", "Request-Id", "Date"} {
		header.Del(name)
	}
	return fmt.Sprint(header)
}

func TestBadKeysAreToldApartByNothing(t *testing.T) {
	hash := hashes([]string{callerKey})[0]
	// Caddy's own limit of a header, below a tenth of this, would answer for the gate.
	v := attack(t, setup{global: "servers {\nmax_header_size 4MB\n}", gate: `
		key disabled disabled-secret-000000000001 {
			disabled
		}
		key expired expired-secret-0000000000001 {
			expires 2020-01-01
		}
		key hashed sha256:` + hashes([]string{otherKey})[0]})
	cases := map[string][]string{
		"unknown":                              {"Authorization: Bearer sk-000000000000000000000000"},
		"SQL":                                  {"Authorization: Bearer ' OR '1'='1"},
		"SQL without blanks":                   {"Authorization: Bearer 'OR(1)=(1)--aaaaaaaaaaaaa"},
		"disabled":                             {"Authorization: Bearer disabled-secret-000000000001"},
		"expired":                              {"Authorization: Bearer expired-secret-0000000000001"},
		"our own format, wrong checksum":       {"Authorization: Bearer pg_live_" + strings.Repeat("0", 57)},
		"our own format, cut":                  {"Authorization: Bearer pg_live_0000"},
		"admin key":                            {"Authorization: Bearer " + adminKey},
		"backend's credential":                 {"Authorization: Bearer " + backendKey},
		"stored hash":                          {"Authorization: Bearer sha256:" + hash},
		"digits of the stored hash":            {"X-Api-Key: " + hash},
		"stored hash of a key given as hash":   {"X-Api-Key: SHA256:" + hashes([]string{otherKey})[0]},
		"name of the placeholder":              {"Authorization: Bearer {env.CALLER_KEY}"},
		"another case":                         {"Authorization: Bearer " + strings.ToUpper(callerKey)},
		"prefix":                               {"Authorization: Bearer " + callerKey[:len(callerKey)-1]},
		"more":                                 {"Authorization: Bearer " + callerKey + "x"},
		"no scheme":                            {"Authorization: " + callerKey},
		"Basic":                                {"Authorization: Basic " + callerKey},
		"scheme twice":                         {"Authorization: Bearer Bearer " + callerKey},
		"scheme in x-api-key":                  {"X-Api-Key: Bearer " + callerKey},
		"scheme without blank":                 {"Authorization: Bearer" + callerKey},
		"two in one line":                      {"Authorization: Bearer " + callerKey + ", Bearer " + callerKey},
		"scheme alone":                         {"Authorization: Bearer"},
		"scheme and blank":                     {"Authorization: Bearer "},
		"empty Authorization":                  {"Authorization:"},
		"empty x-api-key":                      {"X-Api-Key:"},
		"good key beside an empty one":         {bearerKey, "X-Api-Key:"},
		"two Authorization lines":              {bearerKey, bearerKey},
		"two keys in two carriers":             {bearerKey, "X-Api-Key: " + otherKey},
		"two keys in two carriers, bad first":  {"Authorization: Bearer sk-000000000000000000000000", "X-Api-Key: " + callerKey},
		"two keys in one carrier":              {"Api-Key: " + callerKey, "Api-Key: " + otherKey},
		"no-break space":                       {"Authorization: Bearer\u00a0" + callerKey},
		"513 bytes":                            {"Authorization: Bearer " + strings.Repeat("k", 513)},
		"a megabyte":                           {"X-Goog-Api-Key: " + strings.Repeat("k", 1<<20)},
		"10,000 headers":                       {"X-Api-Key: no-such-key-00000000000", strings.TrimSuffix(strings.Repeat("X-Stainless-A: b\r\n", 10_000), "\r\n")},
		"good key only where nobody looks":     {"X-Api-Key: no-such-key-00000000000", "Cookie: api_key=" + callerKey, "Proxy-Authorization: Bearer " + callerKey},
		"good key in the headers of a trailer": {"X-Api-Key: no-such-key-00000000000", "Trailer: Authorization"},
	}
	for _, line := range []string{chatLine, "POST /v1/messages", "GET /v1/models", "GET /v1/key", "GET /v1/usage"} {
		openAI := v.rawOne(t, request(line, "", cases["unknown"]...))
		anthropic := v.rawOne(t, request(line, "", "X-Api-Key: sk-000000000000000000000000"))
		for name, header := range cases {
			if line == "GET /v1/usage" && name == "admin key" {
				continue
			}
			t.Run(line+" "+name, func(t *testing.T) {
				v.unseen(t, func() {
					a := v.rawOne(t, request(line, "", header...))
					first, want := openAI, invalidKey
					// Where the path does not decide, the header of the credential does.
					byHeader := strings.HasPrefix(line, "GET ") && strings.HasPrefix(header[0], "X-Api-Key: ")
					if line == "POST /v1/messages" || byHeader {
						first, want = anthropic, "anthropic 401 authentication_error"
						a.body = strings.ReplaceAll(a.body, a.header.Get("Request-Id"), first.header.Get("Request-Id"))
					}
					if got := refusal(t, first); got != want {
						t.Fatalf("got %s", got)
					}
					if a.status != first.status || a.body != first.body || without(a.header) != without(first.header) {
						t.Errorf("got %d %v %s\nwant %d %v %s", a.status, a.header, a.body, first.status, first.header, first.body)
					}
					if a.header.Get("Www-Authenticate") != "Bearer" {
						t.Errorf("headers %v", a.header)
					}
				})
			})
		}
	}
	t.Run("query", func(t *testing.T) {
		for _, query := range []string{"api_key=" + callerKey, "key=" + callerKey, "a=b&api_key=", "api%5Fkey=x", "API-KEY=x", "a=b;key=x"} {
			v.unseen(t, func() {
				for _, header := range []string{"X: y", bearerKey} {
					if got := refusal(t, v.rawOne(t, request(chatLine+"?"+query, "{}", header))); got != invalidKey {
						t.Errorf("%s, %s: %s", query, header, got)
					}
				}
			})
		}
	})
	t.Run("none", func(t *testing.T) {
		v.unseen(t, func() {
			if got := refusal(t, v.rawOne(t, request(chatLine, "{}"))); got != noKey {
				t.Error(got)
			}
		})
	})
}

func TestKeysAreTakenAsDocumented(t *testing.T) {
	v := attack(t, setup{})
	for name, header := range map[string][]string{
		"Bearer":              {bearerKey},
		"lower case":          {"authorization: bearer " + callerKey},
		"two blanks":          {"Authorization: BEARER  " + callerKey},
		"tab":                 {"Authorization: Bearer\t" + callerKey},
		"blanks around":       {"Authorization:   Bearer " + callerKey + " \t"},
		"x-api-key":           {"x-api-key: " + callerKey},
		"api-key":             {"api-key: " + callerKey},
		"x-goog-api-key":      {"x-goog-api-key: " + callerKey},
		"one key, four times": {bearerKey, "X-Api-Key: " + callerKey, "Api-Key: " + callerKey, "X-Goog-Api-Key: " + callerKey},
	} {
		t.Run(name, func(t *testing.T) {
			if a := v.rawOne(t, request(chatLine, chatBody("m", promptCanary), header...)); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			sent := v.backend.last(t).header
			if sent.Get("Authorization") != "Bearer "+backendKey {
				t.Errorf("the backend was sent %q", sent["Authorization"])
			}
			for _, carrier := range []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
				if sent[carrier] != nil {
					t.Errorf("%s left the gate", carrier)
				}
			}
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	v := attack(t, setup{})
	for name, header := range map[string]string{
		"a megabyte of key": "X-Api-Key: " + strings.Repeat("k", 1<<20),
		"10,000 headers":    "X-Api-Key: no-such-key-00000000000" + strings.Repeat("\r\nX-Stainless-A: b", 10_000),
		"10,000 keys":       "X-Api-Key: " + callerKey + strings.Repeat("\r\nX-Api-Key: k", 10_000),
	} {
		v.unseen(t, func() {
			if a := v.rawOne(t, request(chatLine, "", header)); a.status != 401 && a.status != 431 {
				t.Errorf("%s: %d", name, a.status)
			}
		})
	}
}

func TestScopesHoldInEveryCarrier(t *testing.T) {
	v := attack(t, setup{gate: `
		key bob {env.OTHER_KEY} {
			models m-allowed
			endpoints chat
		}
		key far far-away-secret-0000000001 {
			allow_ip 192.0.2.0/24
		}`})
	for _, carrier := range []string{"Authorization: Bearer ", "X-Api-Key: ", "Api-Key: ", "X-Goog-Api-Key: "} {
		t.Run(carrier, func(t *testing.T) {
			v.unseen(t, func() {
				for _, c := range []struct{ line, body, want string }{
					{chatLine, chatBody("m-other", "x"), "403 permission_error model_not_allowed model"},
					{chatLine + "?model=m-allowed", chatBody("m-other", "x"), "403 permission_error model_not_allowed model"},
					{"POST /v1/embeddings", `{"model":"m-allowed","input":"x"}`, "403 permission_error insufficient_permissions null"},
					{"POST /v1/messages", chatBody("m-allowed", "x"), "anthropic 403 permission_error"},
					{"GET /v1/responses/resp_1", "", "403 permission_error insufficient_permissions null"},
					{"GET /v1/usage", "", "403 permission_error insufficient_permissions null"},
				} {
					if c.line == "GET /v1/usage" && carrier == "X-Api-Key: " { // the path does not decide
						c.want = "anthropic 403 permission_error"
					}
					if got := refusal(t, v.rawOne(t, request(c.line, c.body, carrier+otherKey))); got != c.want {
						t.Errorf("%s %s: %s", c.line, c.body, got)
					}
				}
				got := refusal(t, v.rawOne(t, request(chatLine, chatBody("m", "x"), carrier+"far-away-secret-0000000001", "X-Forwarded-For: 192.0.2.1")))
				if got != "403 permission_error insufficient_permissions null" {
					t.Errorf("from a forbidden address: %s", got)
				}
			})
			a := v.rawOne(t, request(chatLine+"?model=m-other", chatBody("m-allowed", promptCanary), carrier+otherKey))
			if a.status != 200 || v.backend.last(t).query != "" {
				t.Errorf("got %d %s; query %q", a.status, a.body, v.backend.last(t).query)
			}
		})
	}
}

func TestAdminKeysOpenOnlyTheControlPlane(t *testing.T) {
	v := attack(t, setup{})
	v.unseen(t, func() {
		for _, c := range []struct{ url, method, path, key, want string }{
			{v.url, "GET", "/v1/usage", "", noKey},
			{v.url, "GET", "/v1/usage", callerKey, "403 permission_error insufficient_permissions null"},
			{v.url, "POST", "/v1/chat/completions", adminKey, invalidKey},
			{v.url, "GET", "/v1/key", adminKey, invalidKey},
			{v.control, "GET", "/v1/usage", callerKey, invalidKey},
			{v.control, "GET", "/metrics", "", noKey},
			{v.control, "GET", "/metrics", callerKey, invalidKey},
			{v.control, "GET", "/v1/chat/completions", adminKey, unknownURL},
			{v.control, "GET", "/v1/models", callerKey, unknownURL},
			{v.control, "GET", "//metrics", adminKey, unknownURL},
			{v.control, "POST", "/metrics", adminKey, "405 invalid_request_error null null"},
		} {
			public := v.url
			v.url = c.url
			a := v.ask(c.method, c.path, c.key, "")
			v.url = public
			if got := refusal(t, a); got != c.want {
				t.Errorf("%s %s with %q: %s", c.method, c.path, c.key, got)
			}
		}
	})
}

func TestRotatedSecretsShareOneQuota(t *testing.T) {
	t.Parallel()
	expires := time.Now().Add(4 * time.Second).Truncate(time.Second)
	v := attack(t, setup{gate: `
		key rotated old-secret-of-one-key-001 new-secret-of-one-key-001 {
			limit 3 requests/hour
		}
		key brief brief-secret-0000000000001 {
			expires ` + expires.UTC().Format(time.RFC3339) + `
		}`})
	t.Run("expiry is cut to the instant", func(t *testing.T) {
		for {
			from := time.Now()
			a := v.ask("GET", "/v1/key", "brief-secret-0000000000001", "")
			to := time.Now()
			if a.status != 200 && a.status != 401 || a.status == 401 && to.Before(expires) || a.status == 200 && !from.Before(expires) {
				t.Fatalf("%d between %v and %v of %v", a.status, from, to, expires)
			}
			if a.status == 401 {
				return
			}
		}
	})
	for i, secret := range []string{"old-secret-of-one-key-001", "new-secret-of-one-key-001", "old-secret-of-one-key-001", "new-secret-of-one-key-001"} {
		want := 200
		if i == 3 {
			want = 429
		}
		if a := v.ask("POST", "/v1/chat/completions", secret, chatBody("m", promptCanary)); a.status != want {
			t.Errorf("request %d: %d, want %d", i+1, a.status, want)
		}
	}
}
