package caddyfile_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/amanycodes/pine-gate"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// The text around the lines of a case, which begin in line 3.
const (
	gateStart = ":8080 {\n\tpinegate {\n"
	gateEnd   = "\n\t}\n}\n"
	someKey   = "key alice {env.ALICE_KEY}\n"
	someEcho  = "backend echo {\napi echo\n}\n"
)

// eitherOf returns words as messages list them.
func eitherOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// mistake adapts a Caddyfile and returns the error message without Caddy's
// prefix.
func mistake(t *testing.T, input string) string {
	t.Helper()
	_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	if err == nil {
		t.Fatalf("adapted without an error:\n%s", input)
	}
	_, message, found := strings.Cut(err.Error(), "parsing caddyfile tokens for 'pinegate")
	if !found {
		t.Fatalf("an error of something else: %v\n%s", err, input)
	}
	return message[strings.Index(message, ": ")+2:]
}

func TestMistakes(t *testing.T) {
	var units []string
	for _, unit := range limiter.Units() {
		units = append(units, unit.String())
	}
	const h64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, c := range []struct{ name, lines, want string }{
		// secrets
		{"no secret", "key alice", `"key" lacks a secret: expected sha256:<64 hex digits>, {env.NAME}, {file./path} or a clear secret, which is hashed, at Caddyfile:3`},
		{"no id", "key", `"key" lacks its argument: expected the key's name, at Caddyfile:3`},
		{"empty secret", `key alice ""`, `key: a secret: it is empty, at Caddyfile:3`},
		{"short secret", `key alice sesame-open-1`, `key: a secret: it is shorter than 20 characters, at Caddyfile:3`},
		{"secret with a space", `key alice "correct horse battery staple"`, `key: a secret: it holds white space or a character other than printable ASCII, at Caddyfile:3`},
		{"secret before its id", `key an-id-which-is-a-secret alice`, `key: a secret: it is shorter than 20 characters, at Caddyfile:3`},
		{"secret for an id", `key pg_live_0123456789 another-secret-of-alice`, `the first argument of "key" is no name: it looks like a secret, at Caddyfile:3`},
		{"mistyped key of ours", `key alice pg_live_0123456789abcdefghij`, `key: a secret: malformed key: wrong length, at Caddyfile:3`},
		{"short hash", `key alice sha256:abc`, `key: a secret: expected 64 hexadecimal digits after sha256:, found 3 characters, at Caddyfile:3`},
		{"no hash", "key alice sha256:z" + h64[1:], `key: a secret: expected hexadecimal digits after sha256:, at Caddyfile:3`},
		{"text around a placeholder", `key alice Bearer-of-{env.ALICE_KEY}`, `key: a secret: a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it, at Caddyfile:3`},
		{"text behind a placeholder", `key alice {env.ALICE_KEY}-and-more-than-that`, `key: a secret: a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it, at Caddyfile:3`},
		{"two placeholders", `key alice {env.A}{env.B}`, `key: a secret: a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it, at Caddyfile:3`},
		{"other placeholder", `key alice {http.request.header.X-Key}`, `key: a secret: a placeholder is {env.NAME} or {file./path}, at Caddyfile:3`},
		{"placeholder without a name", `key alice {env.}`, `key: a secret: a placeholder is {env.NAME} or {file./path}, at Caddyfile:3`},
		{"short form of Caddy", `key alice {file.alice}`, `key: a secret: {file.NAME} without a slash is a part of the request's path in a Caddyfile: write the whole path, as in {file./run/secrets/NAME}, at Caddyfile:3`},
		{"one secret for two keys", "key alice {env.A}\nkey bob {env.B} {env.A}", `key: a secret stands here already, as that of the key in line 3, at Caddyfile:4`},
		{"one secret for caller and admin", "admin_key an-admin-secret-in-clear\nkey alice an-admin-secret-in-clear", `key: a secret stands here already, as that of the admin keys, at Caddyfile:4`},
		{"admin_key without a secret", "admin_key", `"admin_key" lacks a secret: expected sha256:<64 hex digits>, {env.NAME}, {file./path} or a clear secret, which is hashed, at Caddyfile:3`},

		// blocks and words
		{"unknown word", "modles *", `unknown word "modles": expected one of admin_key, alert, backend, dial_allow, estimate, keepalive, key, keys, limit, max_body, max_output_tokens, max_stream, model, reserve_output_tokens, route, team, throttle, at Caddyfile:3`},
		{"unknown word in a key", "key alice {env.A} {\nmodle *\n}", `unknown word "modle": expected one of allow_ip, disabled, endpoints, expires, limit, models, team, at Caddyfile:4`},
		{"alert of what", "alert", `"alert" lacks its arguments: expected whole numbers from 1 to 100, as in 50 80 100, at Caddyfile:3`},
		{"alert beyond all of it", "alert 80 101", `alert: "101": expected whole numbers from 1 to 100, as in 50 80 100, at Caddyfile:3`},
		{"alert at nothing", "alert 0", `alert: "0": expected whole numbers from 1 to 100, as in 50 80 100, at Caddyfile:3`},
		{"alert at a fraction", "alert 0.8", `alert: "0.8": expected whole numbers from 1 to 100, as in 50 80 100, at Caddyfile:3`},
		{"alert twice", "alert 50 80\nalert 80%", `alert: 80 stands here already, at Caddyfile:4`},
		{"repeated word", "max_body 1MB\nmax_body 2MB", `"max_body" stands here already, in line 3, at Caddyfile:4`},
		{"extra argument", "max_body 1MB 2MB", `unexpected argument "2MB" after "max_body", at Caddyfile:3`},
		{"missing argument", "max_body", `"max_body" lacks its argument: expected a size, as in 10MB or 512KiB, at Caddyfile:3`},
		{"block where none belongs", "max_body 1MB {\nlimit\n}", `unexpected '{': "max_body" takes no block, at Caddyfile:3`},
		{"two keys of one id", "key alice {env.A}\nkey alice {env.B}", `key "alice" is defined already, in line 3, at Caddyfile:4`},
		{"two teams of one id", "team a {\nmodels *\n}\nteam a {\nmodels *\n}", `team "a" is defined already, in line 3, at Caddyfile:6`},
		{"two models of one pattern", "model * {\nlimit 1 concurrent\n}\nmodel * {\nlimit 1 concurrent\n}", `model "*" is defined already, in line 3, at Caddyfile:6`},
		{"two backends of one name", "backend a h:1\nbackend a h:2", `backend "a" is defined already, in line 3, at Caddyfile:4`},
		{"bad id", "team a/b {\nmodels *\n}", `the first argument of "team" is no name: expected 1 to 64 letters, digits, '.', '_' and '-', at Caddyfile:3`},
		{"team without a block", "team research\nlimit 5 requests/minute", `team "research" holds nothing: expected '{' and models or limit, at Caddyfile:3`},
		{"model without a block", "model gpt-*\nlimit 5 requests/minute", `model "gpt-*" holds nothing: expected '{' and limit or price, at Caddyfile:3`},
		{"team without a name", "team {\nmodels *\n}", `"team" lacks its argument: expected the team's name, at Caddyfile:3`},
		{"disabled with an argument", "key a {env.A} {\ndisabled yes\n}", `unexpected argument "yes" after "disabled", at Caddyfile:4`},

		// values
		{"bad size", "max_body 10XB", `max_body: "10XB" is no size: expected a size, as in 10MB or 512KiB, at Caddyfile:3`},
		{"no size", "max_body 0", `max_body: "0" is not positive: expected a size, as in 10MB or 512KiB, at Caddyfile:3`},
		{"bad duration", "max_stream soon", `max_stream: "soon" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:3`},
		{"negative duration", "max_stream -1s", `max_stream: "-1s" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:3`},
		{"bad number", "max_output_tokens many", `max_output_tokens: "many" is no positive whole number: expected a number, as in 4096, 100k or 1.5M, at Caddyfile:3`},
		{"half a number", "max_output_tokens 0.5", `max_output_tokens: "0.5" is no positive whole number: expected a number, as in 4096, 100k or 1.5M, at Caddyfile:3`},
		{"no number", "max_output_tokens 0", `max_output_tokens: "0" is no positive whole number: expected a number, as in 4096, 100k or 1.5M, at Caddyfile:3`},
		{"huge number", "max_output_tokens 99999999999G", `max_output_tokens: "99999999999G" is no positive whole number: expected a number, as in 4096, 100k or 1.5M, at Caddyfile:3`},
		{"bad limit", "limit 60 request/minute", `limit "60 request/minute": unknown unit "request": expected ` + eitherOf(units) + `, at Caddyfile:3`},
		{"limit without arguments", "limit", `"limit" lacks its arguments: expected <n> <unit>[/<window>] [burst <n>], as in 60 requests/minute burst 10, at Caddyfile:3`},
		{"limit twice", "limit 60 requests/minute\nlimit 70 requests/m", `limit: "70 requests/minute" limits what "60 requests/minute" limits already, at Caddyfile:4`},
		{"limit twice in a key", "key a {env.A} {\nlimit 60 requests/minute\nlimit 1 concurrent\nlimit 2 concurrent\n}", `limit: "2 concurrent" limits what "1 concurrent" limits already, at Caddyfile:6`},
		{"bad endpoint", "key a {env.A} {\nendpoints chat chats\n}", `key "a": endpoints: unknown endpoint "chats": expected ` + strings.Join(wire.Groups(), ", ") + `, at Caddyfile:4`},
		{"bad date", "key a {env.A} {\nexpires tomorrow\n}", `key "a": expires: "tomorrow": expected a date (2026-12-31) or an RFC 3339 time (2026-12-31T18:00:00Z), at Caddyfile:4`},
		{"bad network", "key a {env.A} {\nallow_ip 10.0.0.0/99\n}", `key "a": allow_ip: "10.0.0.0/99": expected an address or a network such as 10.0.0.0/8, at Caddyfile:4`},
		{"none and a pattern", "key a {env.A} {\nmodels none gpt-*\n}", `key "a": models: none stands alone or not at all, at Caddyfile:4`},
		{"pattern twice", "key a {env.A} {\nmodels o3\nmodels o3\n}", `models: "o3" stands here already, at Caddyfile:5`},
		{"bad team", "key a {env.A} {\nteam a/b\n}", `key "a": team: expected 1 to 64 letters, digits, '.', '_' and '-', at Caddyfile:4`},
		{"bad price", "model * {\nprice 2.50\n}", "unknown word \"2.50\" in a price: expected `input <n> [output <n>] [cached <n>] [cache_write <n>]`, in USD per million tokens, at Caddyfile:4"},
		{"price without arguments", "model * {\nprice\n}", `"price" lacks its arguments: expected input <usd> [output <usd>] [cached <usd>] [cache_write <usd>] per million tokens, at Caddyfile:4`},
		{"bad throttle", "throttle 5", `throttle: "5" is no rate: expected off, or [all] <n>/<window> [burst <n>], as in 5/second burst 100, at Caddyfile:3`},
		{"throttle all alone", "throttle all", `throttle: "all" lacks its rate: expected off, or [all] <n>/<window> [burst <n>], as in 5/second burst 100, at Caddyfile:3`},
		{"throttle with a bad window", "throttle 5/fortnight", `throttle, as a limit "5 requests/fortnight": unknown window "fortnight": expected second, minute, hour, day, week or month (s, m, h, d, w, mo), at Caddyfile:3`},
		{"throttle by the day", "throttle 5/day", `throttle: window "day": expected second, minute or hour, at Caddyfile:3`},
		{"throttle with a bad burst", "throttle 5/second burst", `throttle, as a limit "5 requests/second burst": burst: expected a whole number above zero, such as 60, 100k, 1.5M or 2G, at Caddyfile:3`},
		{"throttle off and more", "throttle off 5/second", `throttle: unexpected argument "5/second" after "off", at Caddyfile:3`},
		{"bad dial_allow", "dial_allow internal", `dial_allow: "internal" is none of an address, a CIDR, public, private and loopback, at Caddyfile:3`},
		{"keys file twice", "keys a.json\nkeys a.json", `keys: "a.json" stands here already, at Caddyfile:4`},
		{"bad estimate", "estimate guesses", `estimate: unknown word "guesses": expected characters or tokens, at Caddyfile:3`},

		// backends
		{"backend without a name", "backend {\n}", `"backend" lacks its argument: expected the backend's name, at Caddyfile:3`},
		{"backend without upstreams", "backend a {\nmodels *\n}", `backend "a" has no upstream: expected host:port, http(s)://host[:port][/path] or unix/path, at Caddyfile:3`},
		{"URL for a name", "backend http://127.0.0.1:8000", `the first argument of "backend" is no name: expected 1 to 64 letters, digits, '.', '_' and '-', at Caddyfile:3`},
		{"slip in a backend's word", "backend a h:1 {\nmodells *\n}", `backend "a": unrecognized subdirective modells, at Caddyfile:4: expected a subdirective of reverse_proxy or one of api, api_key, continuous_usage, discover, dynamic, first_token_timeout, idle_timeout, include_usage, limit, max_inflight, models, on_disconnect, pass_header, proxy, queue, rename, to, transport`},
		{"mistake within reverse_proxy", "backend a h:1 {\nlb_policy best\n}", `backend "a": getting module named 'http.reverse_proxy.selection_policies.best': module not registered: http.reverse_proxy.selection_policies.best, at Caddyfile:4`},
		{"unknown word within reverse_proxy", "backend a h:1 {\ntransport http {\nfoo\n}\n}", `backend "a": unrecognized subdirective foo, at Caddyfile:5`},
		{"max_inflight of what", "backend a h:1 {\nmax_inflight\n}", `"max_inflight" lacks its argument: expected a number, as in 4096, 100k or 1.5M, at Caddyfile:4`},
		{"max_inflight of none", "backend a h:1 {\nmax_inflight 0\n}", `max_inflight: "0" is no positive whole number: expected a number, as in 4096, 100k or 1.5M, at Caddyfile:4`},
		{"queue without max_inflight", "backend a h:1 {\nqueue 200 30s\n}", `backend "a": queue without max_inflight, so that nobody would wait: expected both, as in max_inflight 32 and queue 200 30s, at Caddyfile:3`},
		{"queue without a time", "backend a h:1 {\nqueue 200\n}", `queue: expected how many wait and how long at most, as in queue 200 30s, at Caddyfile:4`},
		{"queue with its arguments in the wrong order", "backend a h:1 {\nqueue 30s 200\n}", `queue: "30s" is no positive whole number: expected how many wait and how long at most, as in queue 200 30s, at Caddyfile:4`},
		{"queue without end", "backend a h:1 {\nqueue 1M 30s\n}", `queue: "1M" are too many: expected 100000 at most, at Caddyfile:4`},
		{"queue for ever", "backend a h:1 {\nqueue 200 0s\n}", `queue: "0s" is no positive duration: expected how many wait and how long at most, as in queue 200 30s, at Caddyfile:4`},
		{"bad api", "backend a h:1 {\napi gemini\n}", `api: unknown word "gemini": expected ` + eitherOf(slices.Sorted(slices.Values(backends.APIs()))) + `, at Caddyfile:4`},
		{"echo with an upstream", "backend a h:1 {\napi echo\n}", `backend "a": api echo answers by itself: expected no upstreams, at Caddyfile:3`},
		{"echo with a credential", "backend a {\napi echo\napi_key {env.K}\n}", `backend "a": api echo calls nobody: expected no api_key, at Caddyfile:3`},
		{"clear api_key", "backend a h:1 {\napi_key sk-proj-clear-credential\n}", `api_key: a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too), at Caddyfile:4`},
		{"hashed api_key", "backend a h:1 {\napi_key sha256:" + h64 + "\n}", `api_key: a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too), at Caddyfile:4`},
		{"text around an api_key", "backend a h:1 {\napi_key \"Bearer {env.K}\"\n}", `api_key: a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it, at Caddyfile:4`},
		{"api_key by a short form", "backend a h:1 {\napi_key {file.openai}\n}", `api_key: {file.NAME} without a slash is a part of the request's path in a Caddyfile: write the whole path, as in {file./run/secrets/NAME}, at Caddyfile:4`},
		{"api_key without a name", "backend a h:1 {\napi_key {env.}\n}", `api_key: a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too), at Caddyfile:4`},
		{"paths that differ", "backend a http://h/api/v1 {\nmodels *\nto http://i/v1\n}", `upstream "http://i/v1": its path /v1 differs from the path /api/v1 of "http://h/api/v1": expected one path for all upstreams of a backend, at Caddyfile:5`},
		{"path without a scheme", "backend a localhost:11434/v1", `upstream "localhost:11434/v1": a path needs a scheme: expected http://localhost:11434/v1 or https://localhost:11434/v1, at Caddyfile:3`},
		{"path with a query", "backend a https://h/v1?key=a-secret", `upstream "h": expected a plain path behind it, without a query (but ?api-version=, as in 2024-10-21, which Azure wants), a fragment, a placeholder or an escape, at Caddyfile:3`},
		{"query behind an api-version", "backend a https://h/openai?api-version=2024-10-21&key=a-secret", `upstream "h": expected a plain path behind it, without a query (but ?api-version=, as in 2024-10-21, which Azure wants), a fragment, a placeholder or an escape, at Caddyfile:3`},
		{"two api-versions", "backend a https://h/openai?api-version=2024-10-21 https://i/openai", `upstream "https://i/openai": its api-version differs from that of "https://h/openai?api-version=2024-10-21": expected one for all upstreams of a backend, at Caddyfile:3`},
		{"api-version without a scheme", "backend a h?api-version=2024-10-21", `upstream "h?api-version=2024-10-21": a path needs a scheme: expected http://h?api-version=2024-10-21 or https://h?api-version=2024-10-21, at Caddyfile:3`},
		{"path of an endpoint", "backend a https://h/v1/chat/completions", `upstream "https://h/v1/chat/completions": expected the path before that of an endpoint, without /chat/completions, at Caddyfile:3`},
		{"discover too often", "backend a h:1 {\ndiscover 100ms\n}", `discover: 100ms is too often: expected a duration, as in 30m or 400d, at least a second, or off, at Caddyfile:4`},
		{"discover never", "backend a h:1 {\ndiscover never\n}", `discover: "never" is no positive duration: expected a duration, as in 30m or 400d, at least a second, or off, at Caddyfile:4`},
		{"discover without argument", "backend a h:1 {\ndiscover\n}", `"discover" lacks its argument: expected a duration, as in 30m or 400d, at least a second, or off, at Caddyfile:4`},
		{"discover of echo", "backend a {\napi echo\ndiscover 5m\n}", `backend "a": api echo has no models to tell: expected no discover, at Caddyfile:3`},
		{"path with dots", "backend a https://h/a/../b", `upstream "https://h/a/../b": expected a path without empty, '.' or '..' parts, at Caddyfile:3`},
		{"password in an upstream", "backend a https://user:a-password@h/v1", `an upstream holds a user or a password: expected http://host:port, with the credential in api_key or header_up, at Caddyfile:3`},
		{"password without a scheme", "backend a user:a-password@h:8000", `an upstream holds a user or a password: expected http://host:port, with the credential in api_key or header_up, at Caddyfile:3`},
		{"schemes that differ", "backend a http://h:1 https://i:2", `backend "a": parsing upstream 'https://i:2': for now, all proxy upstreams must use the same scheme (transport protocol); expecting 'http://' but got 'https://', at Caddyfile:3`},
		{"bad scheme", "backend a ftp://h:1", `backend "a": parsing upstream 'ftp://h:1': unsupported URL scheme ftp://, at Caddyfile:3`},
		{"to without upstreams", "backend a h:1 {\nto\n}", `"to" lacks its arguments: expected upstreams, at Caddyfile:4`},
		{"other transport", "backend a h:1 {\ntransport fastcgi\n}", `transport: unknown word "fastcgi": expected http, whose options the gate's own transport has, at Caddyfile:4`},
		{"our transport", "backend a h:1 {\ntransport pinegate\n}", `transport: unknown word "pinegate": expected http, whose options the gate's own transport has, at Caddyfile:4`},
		{"HTTP/3", "backend a h:1 {\ntransport http {\nversions 2 3\n}\n}", `versions: HTTP/3 to a backend goes round dial_allow: expected 1.1, 2 or h2c, at Caddyfile:5`},
		{"two transports", "backend a h:1 {\ntransport http\ntransport http\n}", `"transport" stands here already, in line 4, at Caddyfile:5`},
		{"flush_interval", "backend a h:1 {\nflush_interval -1\n}", `"flush_interval" does not belong in a backend: events are flushed at once anyway, and anything else would hold them back, at Caddyfile:4`},
		{"response_buffers", "backend a h:1 {\nresponse_buffers 1MB\n}", `"response_buffers" does not belong in a backend: it would hold back the events of a stream, at Caddyfile:4`},
		{"request_buffers", "backend a h:1 {\nrequest_buffers 1MB\n}", `"request_buffers" does not belong in a backend: the gate holds the body already, up to max_body, and sends it again for each retry, at Caddyfile:4`},
		{"rename of one name", "backend a h:1 {\nrename fast\n}", `rename: expected two arguments, the public name of a model and the backend's, at Caddyfile:4`},
		{"rename of a pattern", "backend a h:1 {\nrename gpt-* gpt-4o\n}", `rename: "gpt-*" is no name of a model: expected one without white space and '*', at Caddyfile:4`},
		{"rename twice", "backend a h:1 {\nrename a b\nrename a c\n}", `rename: "a" is renamed already, at Caddyfile:5`},
		{"header that is never passed", "backend a h:1 {\npass_header X-Tenant authorization\n}", `pass_header: Authorization is never passed on: set what the backend needs with api_key or header_up, at Caddyfile:4`},
		{"bad header", "backend a h:1 {\npass_header \"X Tenant\"\n}", `pass_header: "X Tenant" is no name of a header, at Caddyfile:4`},
		{"timeout of what", "backend a h:1 {\nfirst_token_timeout\n}", `"first_token_timeout" lacks its argument: expected a duration, as in 30m or 400d, at Caddyfile:4`},
		{"timeout that is none", "backend a h:1 {\nidle_timeout off\n}", `idle_timeout: "off" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:4`},
		{"timeout of no time", "backend a h:1 {\nfirst_token_timeout 0s\n}", `first_token_timeout: "0s" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:4`},
		{"two timeouts", "backend a h:1 {\nidle_timeout 1m\nidle_timeout 2m\n}", `"idle_timeout" stands here already, in line 4, at Caddyfile:5`},
		{"keepalive of what", "keepalive", `"keepalive" lacks its argument: expected a duration, as in 30m or 400d, or off, at Caddyfile:3`},
		{"keepalive on", "keepalive on", `keepalive: "on" is no positive duration: expected a duration, as in 30m or 400d, or off, at Caddyfile:3`},
		{"keepalive of less than no time", "keepalive -15s", `keepalive: "-15s" is no positive duration: expected a duration, as in 30m or 400d, or off, at Caddyfile:3`},
		{"on_disconnect of what", "backend a h:1 {\non_disconnect\n}", `"on_disconnect" lacks its argument: expected cancel or drain [<max>], at Caddyfile:4`},
		{"on_disconnect with another word", "backend a h:1 {\non_disconnect finish\n}", `on_disconnect: unknown word "finish": expected cancel or drain [<max>], at Caddyfile:4`},
		{"drain for no time", "backend a h:1 {\non_disconnect drain 0s\n}", `on_disconnect: "0s" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:4`},
		{"cancel after a time", "backend a h:1 {\non_disconnect cancel 5s\n}", `unexpected argument "5s" after "on_disconnect", at Caddyfile:4`},
		{"include_usage of what", "backend a h:1 {\ninclude_usage\n}", `"include_usage" lacks its argument: expected off or on, at Caddyfile:4`},
		// routes
		{"route of what", "route", `"route" lacks its argument: expected a pattern of models, then <backend>[/<model>]..., at Caddyfile:3`},
		{"route to nowhere", "route gpt-* {\npolicy first\n}", `route "gpt-*" leads nowhere: expected <backend>[/<model>]..., at Caddyfile:3`},
		{"route to an unknown backend", "route fast east/m west\nbackend east h:1", `route "fast": there is no backend "west": expected one of east, at Caddyfile:3`},
		{"route to a name without a model", "route fast east/\nbackend east h:1", `route: "east/": "" is no name of a model: expected one without white space and '*', at Caddyfile:3`},
		{"route to a pattern", "route fast east/gpt-*\nbackend east h:1", `route: "east/gpt-*": "gpt-*" is no name of a model: expected one without white space and '*', at Caddyfile:3`},
		{"route to one backend twice", "route fast east/m east/n east/m", `route: "east/m" stands here already, at Caddyfile:3`},
		{"two routes of one pattern", "route fast east\nroute fast west", `route "fast" is defined already, in line 3, at Caddyfile:4`},
		{"route of a bad pattern", "route \"a b\" east", `route: pattern "a b" holds white space or a control character, at Caddyfile:3`},
		{"policy of what", "route fast east {\npolicy\n}", `"policy" lacks its argument: expected first, round_robin, weighted <n>..., least_inflight, lowest_latency or sticky [conversation|key], at Caddyfile:4`},
		{"unknown policy", "route fast east {\npolicy random\n}", `policy: unknown word "random": expected first, round_robin, weighted <n>..., least_inflight, lowest_latency or sticky [conversation|key], at Caddyfile:4`},
		{"too few weights", "route fast east west {\npolicy weighted 1\n}", `policy: 1 weights for 2 backends: expected weighted and a whole number for each backend, as in weighted 3 1, at Caddyfile:4`},
		{"no weights", "route fast east west {\npolicy weighted\n}", `policy: 0 weights for 2 backends: expected weighted and a whole number for each backend, as in weighted 3 1, at Caddyfile:4`},
		{"weight of nothing", "route fast east west {\npolicy weighted 1 0\n}", `policy: "0" is no weight: expected a whole number from 1 to 1000000, at Caddyfile:4`},
		{"weight without an end", "route fast east west {\npolicy weighted 1 2M\n}", `policy: "2M" is no weight: expected a whole number from 1 to 1000000, at Caddyfile:4`},
		{"weights under another policy", "route fast east west {\npolicy round_robin 1 2\n}", `unexpected argument "1" after "policy", at Caddyfile:4`},
		{"sticky by what", "route fast east west {\npolicy sticky user\n}", `policy: unknown word "user" after sticky: expected conversation or key, at Caddyfile:4`},
		{"no attempts", "route fast east {\nattempts 0\n}", `attempts: "0" is no number of backends: expected a whole number from 1 to 1000, at Caddyfile:4`},
		{"attempts of what", "route fast east {\nattempts\n}", `"attempts" lacks its argument: expected how many backends a request is tried at, at Caddyfile:4`},
		{"two policies", "route fast east {\npolicy first\npolicy sticky\n}", `"policy" stands here already, in line 4, at Caddyfile:5`},
		{"unknown word in a route", "route fast east {\nretries 2\n}", `unknown word "retries": expected one of attempts, policy, at Caddyfile:4`},

		{"proxy maybe", "backend a h:1 {\nproxy maybe\n}", `proxy: unknown word "maybe": expected direct or reverse_proxy, at Caddyfile:4`},
		{"include_usage maybe", "backend a h:1 {\ninclude_usage maybe\n}", `include_usage: unknown word "maybe": expected off or on, at Caddyfile:4`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mistake(t, gateStart+c.lines+gateEnd)
			if got != c.want {
				t.Errorf("%s\ngives\n%s\nwant\n%s", c.lines, got, c.want)
			}
		})
	}
}

// Mistakes that concern the whole file, or are outside of a gate.
func TestMistakesElsewhere(t *testing.T) {
	for _, c := range []struct{ name, input, want string }{
		{"no block", ":8080 {\n\tpinegate\n}\n", `"pinegate" has no keys, so that nobody could use it: expected key or keys, at Caddyfile:2`},
		{"no keys", ":8080 {\n\tpinegate {\n\t\tadmin_key {env.A}\n" + someEcho + "\t}\n}\n", `"pinegate" has no keys, so that nobody could use it: expected key or keys, at Caddyfile:2`},
		{"no backend", ":8080 {\n\tpinegate {\n" + someKey + "\t}\n}\n", `"pinegate" has nothing behind it: expected backend, at Caddyfile:2`},
		{"argument", ":8080 {\n\tpinegate openai {\n" + someKey + someEcho + "\t}\n}\n", `unexpected argument "openai" after "pinegate": expected '{', or a matcher before it, at Caddyfile:2`},
		{"words of a key without its brace", ":8080 {\n\tpinegate {\n" + someKey + "expires 2027-12-31\n" + someEcho + "\t}\n}\n", `unknown word "expires": expected one of admin_key, alert, backend, dial_allow, estimate, keepalive, key, keys, limit, max_body, max_output_tokens, max_stream, model, reserve_output_tokens, route, team, throttle, at Caddyfile:4`},
		{"within an import", "(key) {\n\tkey {args[0]} short\n}\n:8080 {\n\tpinegate {\n\t\timport key alice\n\t}\n}\n", `key: a secret: it is shorter than 20 characters, at Caddyfile:2 import chain ['Caddyfile:6 (import key)']`},

		{"admin without a block", ":9180 {\n\tpinegate_admin\n}\n", `"pinegate_admin" lacks a key, and would be open: expected a block with admin_key, at Caddyfile:2`},
		{"admin with an argument", ":9180 {\n\tpinegate_admin open\n}\n", `unexpected argument "open" after "pinegate_admin": expected '{', at Caddyfile:2`},
		{"admin with another word", ":9180 {\n\tpinegate_admin {\n\t\tkey a {env.A}\n\t}\n}\n", `unknown word "key": expected one of admin_key, at Caddyfile:3`},
		{"admin with a short key", ":9180 {\n\tpinegate_admin {\n\t\tadmin_key sesame\n\t}\n}\n", `admin_key: a secret: it is shorter than 20 characters, at Caddyfile:3`},

		{"global twice", "{\n\tpinegate {\n\t\tstore memory\n\t}\n\tpinegate {\n\t\tmetrics\n\t}\n}\n", `"pinegate" stands here already: expected one block of it, at Caddyfile:5`},
		{"global argument", "{\n\tpinegate memory\n}\n", `unexpected argument "memory" after "pinegate": expected '{', at Caddyfile:2`},
		{"global word", "{\n\tpinegate {\n\t\tstorage memory\n\t}\n}\n", `unknown word "storage": expected one of metrics, prices, store, webhook, at Caddyfile:3`},
		{"two stores", "{\n\tpinegate {\n\t\tstore file\n\t\tstore memory\n\t}\n}\n", `"store" stands here already, in line 3, at Caddyfile:4`},
		{"store of what", "{\n\tpinegate {\n\t\tstore\n\t}\n}\n", `"store" lacks its argument: expected file, memory or redis, at Caddyfile:3`},
		{"unknown store", "{\n\tpinegate {\n\t\tstore etcd\n\t}\n}\n", `store: unknown word "etcd": expected file, memory or redis, at Caddyfile:3`},
		{"two directories", "{\n\tpinegate {\n\t\tstore file /a /b\n\t}\n}\n", `unexpected argument "/b" after the directory of "store file", at Caddyfile:3`},
		{"store memory with a block", "{\n\tpinegate {\n\t\tstore memory {\n\t\t\tretention 1d\n\t\t}\n\t}\n}\n", `unexpected '{': "store" takes no block, at Caddyfile:3`},
		{"bad retention", "{\n\tpinegate {\n\t\tstore file {\n\t\t\tretention long\n\t\t}\n\t}\n}\n", `retention: "long" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:4`},
		{"prices of what", "{\n\tpinegate {\n\t\tprices\n\t}\n}\n", `"prices" lacks its arguments: expected files in the format of model_prices_and_context_window.json, at Caddyfile:3`},
		{"prices twice", "{\n\tpinegate {\n\t\tprices a.json\n\t\tprices b.json a.json\n\t}\n}\n", `prices: "a.json" stands here already, at Caddyfile:4`},
		{"bad sync", "{\n\tpinegate {\n\t\tstore file {\n\t\t\tsync often\n\t\t}\n\t}\n}\n", `sync: "often" is no positive duration: expected always, or a duration, as in 30m or 400d, at Caddyfile:4`},
		{"no sync", "{\n\tpinegate {\n\t\tstore file {\n\t\t\tsync 0s\n\t\t}\n\t}\n}\n", `sync: "0s" is no positive duration: expected always, or a duration, as in 30m or 400d, at Caddyfile:4`},
		{"sync of what", "{\n\tpinegate {\n\t\tstore file {\n\t\t\tsync\n\t\t}\n\t}\n}\n", `"sync" lacks its argument: expected always, or a duration, as in 30m or 400d, at Caddyfile:4`},
		{"two syncs", "{\n\tpinegate {\n\t\tstore file {\n\t\t\tsync always\n\t\t\tsync 1s\n\t\t}\n\t}\n}\n", `"sync" stands here already, in line 4, at Caddyfile:5`},
		{"sync in memory", "{\n\tpinegate {\n\t\tstore memory {\n\t\t\tsync always\n\t\t}\n\t}\n}\n", `unexpected '{': "store" takes no block, at Caddyfile:3`},
		{"webhook to where", "{\n\tpinegate {\n\t\twebhook\n\t}\n}\n", `"webhook" lacks its argument: expected https://host/path, or {env.NAME} or {file./path} for all of it, at Caddyfile:3`},
		{"webhook without TLS", "{\n\tpinegate {\n\t\twebhook http://example.com/x {\n\t\t\tsecret {env.S}\n\t\t}\n\t}\n}\n", `webhook: alerts go over TLS, but on loopback: expected https://host/path, or {env.NAME} or {file./path} for all of it, at Caddyfile:3`},
		{"webhook with a credential", "{\n\tpinegate {\n\t\twebhook https://user:hush@example.com/x {\n\t\t\tsecret {env.S}\n\t\t}\n\t}\n}\n", `webhook: a URL with a credential would stand in the config, which is stored and shown: expected https://host/path, or {env.NAME} or {file./path} for all of it, at Caddyfile:3`},
		{"webhook that is no URL", "{\n\tpinegate {\n\t\twebhook example.com {\n\t\t\tsecret {env.S}\n\t\t}\n\t}\n}\n", `webhook: it is no URL: expected https://host/path, or {env.NAME} or {file./path} for all of it, at Caddyfile:3`},
		{"webhook without a secret", "{\n\tpinegate {\n\t\twebhook https://example.com\n\t}\n}\n", `webhook: it lacks its secret, which signs what is sent: expected a block with secret {env.NAME} or {file./path}, at Caddyfile:3`},
		{"webhook with a clear secret", "{\n\tpinegate {\n\t\twebhook https://example.com {\n\t\t\tsecret whsec_hush\n\t\t}\n\t}\n}\n", `secret: a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too), at Caddyfile:4`},
		{"webhook with another word", "{\n\tpinegate {\n\t\twebhook https://example.com {\n\t\t\tretries 3\n\t\t}\n\t}\n}\n", `unknown word "retries": expected one of secret, at Caddyfile:4`},
		{"unknown metric", "{\n\tpinegate {\n\t\tmetrics {\n\t\t\tper_team\n\t\t}\n\t}\n}\n", `unknown word "per_team": expected one of hide_models, per_key, at Caddyfile:4`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mistake(t, c.input); got != c.want {
				t.Errorf("%s\ngives\n%s\nwant\n%s", c.input, got, c.want)
			}
		})
	}
}

// Whatever is wrong with a secret, the message must not contain it.
func TestMistakesHideSecrets(t *testing.T) {
	t.Setenv("PINEGATE_TEST_SECRET", "hush-hush-hush-hush-hush")
	for _, lines := range []string{
		"key alice hush",
		"key alice {env.A} hush",
		`key alice "hush hush hush hush hush hush"`,
		"key hush-hush-hush-hush-hush alice",
		"key hush-hush-hush-hush-hush",
		"key alice {hush}",
		"key alice hush-hush-hush-hush-hush-{env.A}",
		"key alice sha256:hush",
		"key alice pg_live_hush",
		"key pg_live_hush hush-hush-hush-hush-hush",
		"key alice hush-hush-hush-hush-hush hush-hush-hush-hush-hush",
		"admin_key hush",
		"backend a h:1 {\napi_key hush\n}",
		"backend a h:1 {\napi_key {$PINEGATE_TEST_SECRET}\n}",
		"backend a h:1 {\napi_key \"Bearer hush\"\n}",
		"backend a h:1 {\napi_key hush{env.A}\n}",
		"backend a https://user:hush@h",
		"backend a user:hush@h:80",
		"backend a https://h/v1?key=hush",
		"backend a h/v1?key=hush",
	} {
		if got := mistake(t, gateStart+lines+gateEnd); strings.Contains(got, "hush") {
			t.Errorf("%s\ngives\n%s", lines, got)
		}
	}
}
