package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// What one gate has learnt, another knows: also when the first is gone.
func TestGatesOverOneRedisTellEachOtherOfResponsesAndOfBackendsThatCool(t *testing.T) {
	s := startRedis(t)
	var asked atomic.Int64
	busy := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "240")
		refuses(429, jsonType, "{}")(w, r)
	})
	const response = `{"id":"resp_1","object":"response","model":"m","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`
	serves := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answers(200, response)(w, r)
	})
	all := startGates(t, 2, s, redisStore(t, s), fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key bob {env.OTHER_KEY}
		dial_allow loopback
		backend busy %s
		backend serves %s`, busy.URL, serves.URL))
	const first = `{"model":"m","input":"x"}`
	if a := all[0].do("POST", "/v1/responses", callerKey, first); a.status != 200 || asked.Load() != 1 {
		t.Fatalf("%d %s, and the busy one was asked %d times", a.status, a.body, asked.Load())
	}
	eventually(t, "it is reported", func() bool {
		return s.Do("zcard", "pinegate:cooldowns").(int64) == 1 && s.Do("exists", "pinegate:response:resp_1").(int64) == 1
	})
	all[0].Stop(syscall.SIGTERM)
	looked := s.Calls("zrangebyscore")
	eventually(t, "the other gate has looked", func() bool { return s.Calls("zrangebyscore") >= looked+3 })

	if a := all[1].do("POST", "/v1/responses", callerKey, first); a.status != 200 || asked.Load() != 1 {
		t.Errorf("%d %s, and the busy one was asked %d times", a.status, a.body, asked.Load())
	}
	if a := all[1].do("GET", "/v1/responses/resp_1", callerKey, ""); a.status != 200 || a.body != response {
		t.Errorf("its maker gets %d %s", a.status, a.body)
	}
	if a := all[1].do("GET", "/v1/responses/resp_1", otherKey, ""); a.status != 404 {
		t.Errorf("another key gets %d %s", a.status, a.body)
	}
	const next = `{"model":"m","input":"y","previous_response_id":"resp_%d"}`
	if a := all[1].do("POST", "/v1/responses", callerKey, fmt.Sprintf(next, 1)); a.status != 200 {
		t.Errorf("continued: %d %s", a.status, a.body)
	}
	s.Kill()
	unknown := all[1].do("GET", "/v1/responses/resp_2", callerKey, "")
	if continued := all[1].do("POST", "/v1/responses", callerKey, fmt.Sprintf(next, 2)); continued.status != 503 || unknown.status != 503 ||
		!strings.Contains(unknown.body, "server_is_overloaded") {
		t.Errorf("without Redis: %d %s and %d %s", unknown.status, unknown.body, continued.status, continued.body)
	}
	if a := all[1].do("GET", "/v1/responses/resp_1", callerKey, ""); a.status != 200 {
		t.Errorf("what the gate knows, without Redis: %d %s", a.status, a.body)
	}
}
