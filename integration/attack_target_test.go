package integration

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// promptCanary stands in the prompts of attacks: no log and no metric may hold it.
const promptCanary = "canary-prompt-5b1d"

// target is a gate under attack and the backend behind it. When its test ends
// it is searched for what must not have leaked.
type target struct {
	*gate
	backend *backend
	control string // the URL of its pinegate_admin listener

	mu       sync.Mutex
	answered bytes.Buffer // what callers were answered
}

// setup is what a target has beside the usual.
type setup struct {
	answer  http.HandlerFunc // of the backend; nil: a chat's answer
	global  string           // more global options
	gate    string           // more words of the gate; {backend} is the backend's URL
	backend string           // more words of the backend
	address string           // by which the backend is dialled; "": that of {backend}
	allow   string           // dial_allow; "": loopback
}

// attack starts a gate for any host, with the key alice, and a control plane on
// a listener of its own.
func attack(t *testing.T, s setup) *target {
	t.Helper()
	if s.answer == nil {
		s.answer = answers(200, chatAnswer("hi", 3, 2))
	}
	v := &target{gate: newGate(t), backend: newBackend(t, s.answer)}
	v.control = fmt.Sprintf("http://127.0.0.1:%d", gatetest.FreePort())
	v.start(v.config(s))
	t.Cleanup(v.audit)
	return v
}

// config is the Caddyfile of a target.
func (v *target) config(s setup) string {
	if !strings.Contains(s.gate, "throttle") {
		s.gate += "\nthrottle off"
	}
	if s.address == "" {
		s.address = v.backend.URL
	}
	if s.allow == "" {
		s.allow = "loopback"
	}
	s.gate = strings.ReplaceAll(s.gate, "{backend}", v.backend.URL)
	site := v.caddyfile(s.global, fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		dial_allow %s
		backend mock %s {
			api_key {env.BACKEND_KEY}
			%s
		}
		%s`, s.allow, s.address, s.backend, s.gate))
	named := fmt.Sprintf("http://127.0.0.1:%d {", v.port)
	site = strings.Replace(site, named, fmt.Sprintf("http://:%d {\nbind 127.0.0.1\n", v.port), 1)
	return site + v.control + " {\npinegate_admin {\nadmin_key {env.ADMIN_KEY}\n}\n}\n"
}

// audit looks for canaries in all that the gate has said, and ends it.
func (v *target) audit() {
	metrics := v.metrics()
	v.Stop(syscall.SIGTERM)
	v.mu.Lock()
	defer v.mu.Unlock()
	secrets := []string{callerKey, otherKey, adminKey, backendKey, clearKey, clearAdminKey}
	logs := v.Logs.String()
	search(v.t, "the log", logs, append(secrets, promptCanary))
	search(v.t, "the metrics", metrics, append(secrets, promptCanary))
	search(v.t, "an answer", v.answered.String(), append(secrets, hashes(secrets)...))
	for _, r := range v.backend.seen() {
		text := fmt.Sprint(r.path, r.query, r.header, r.host, r.body)
		search(v.t, "what the backend was sent", text, []string{callerKey, otherKey, adminKey, clearKey, clearAdminKey})
	}
	if v.t.Failed() {
		return // a report of a race is no JSON
	}
	for line := range strings.Lines(logs) {
		if !json.Valid([]byte(line)) || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\r\x00") {
			v.t.Errorf("the log has a line that is not one JSON value: %q", line)
		}
		if strings.Contains(line, "panic") {
			v.t.Errorf("the gate panicked: %s", line)
		}
	}
}

func search(t *testing.T, where, text string, canaries []string) {
	t.Helper()
	for _, canary := range canaries {
		if i := strings.Index(text, canary); i >= 0 {
			t.Errorf("%s holds %s: …%s…", where, canary, text[max(0, i-200):min(len(text), i+100)])
		}
	}
}

// hashes are what the gate keeps of secrets.
func hashes(secrets []string) (list []string) {
	for _, secret := range secrets {
		sum := sha256.Sum256([]byte(secret))
		list = append(list, hex.EncodeToString(sum[:]))
	}
	return list
}

// metrics reads the control plane's metrics.
func (v *target) metrics() string {
	v.t.Helper()
	req, err := http.NewRequest("GET", v.control+"/metrics", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		v.t.Fatalf("metrics: %d %v", res.StatusCode, err)
	}
	return string(text)
}

// ask sends a request by net/http's client and keeps the answer for the audit.
func (v *target) ask(method, path, key, body string, header ...string) answer {
	v.t.Helper()
	a := v.do(method, path, key, body, header...)
	v.keep(a)
	return a
}

func (v *target) keep(a answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprintln(&v.answered, a.status, a.header, a.body)
}

// raw writes bytes to the gate as they are and reads answers until the gate
// hangs up: the last request must ask for that, or be malformed.
func (v *target) raw(t *testing.T, text string) []answer {
	t.Helper()
	return v.exchange(t, v.dial(t), text)
}

func (v *target) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", v.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (v *target) exchange(t *testing.T, conn net.Conn, text string) (all []answer) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(conn, text) }() // the gate may refuse before it has all
	in := bufio.NewReader(conn)
	for {
		if _, err := in.Peek(1); err == io.EOF {
			return all
		} else if err != nil && len(all) > 0 && !isTimeout(err) {
			return all // reset, since the gate left some of the request unread
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("after %d answers: %v", len(all), err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("reading answer %d: %v", len(all)+1, err)
		}
		a := answer{res.StatusCode, res.Header, string(body)}
		v.keep(a)
		all = append(all, a)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// rawOne is raw for what must have one answer.
func (v *target) rawOne(t *testing.T, text string) answer {
	t.Helper()
	all := v.raw(t, text)
	if len(all) != 1 {
		t.Fatalf("%d answers, want one: %v", len(all), all)
	}
	return all[0]
}

// request writes a request that asks the gate to hang up behind its answer.
func request(line, body string, header ...string) string {
	if body != "" {
		header = append(header, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
	}
	header = append([]string{line + " HTTP/1.1", "Host: gate.test", "Connection: close"}, header...)
	return strings.Join(header, "\r\n") + "\r\n\r\n" + body
}

const (
	chatLine  = "POST /v1/chat/completions"
	bearerKey = "Authorization: Bearer " + callerKey
)

// refusal returns an error in short, as "401 invalid_request_error
// invalid_api_key null": type, code and param, or the type of Anthropic's
// dialect. What is no envelope is "<status> plain".
func refusal(t *testing.T, a answer) string {
	t.Helper()
	var envelope struct {
		Type      string
		RequestID string `json:"request_id"`
		Error     map[string]any
	}
	if err := json.Unmarshal([]byte(a.body), &envelope); err != nil || envelope.Error == nil {
		return fmt.Sprint(a.status, " plain")
	}
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Request-Id") == "" {
		t.Errorf("an error has the headers %v", a.header)
	}
	e := envelope.Error
	if message, _ := e["message"].(string); message == "" {
		t.Errorf("an error has no message: %s", a.body)
	}
	if envelope.Type == "error" {
		if id := a.header.Get("Request-Id"); envelope.RequestID != id || id == "" || id != a.header.Get("X-Request-Id") {
			t.Errorf("request_id %q, headers %v", envelope.RequestID, a.header)
		}
		return fmt.Sprint("anthropic ", a.status, " ", e["type"])
	}
	for _, name := range []string{"type", "code", "param"} {
		switch value, present := e[name]; value.(type) {
		case string:
		case nil:
			if present && name != "type" {
				e[name] = "null"
				continue
			}
			t.Errorf("%s lacks in %s", name, a.body)
		default:
			t.Errorf("%s is %v in %s", name, value, a.body)
		}
	}
	return fmt.Sprint(a.status, " ", e["type"], " ", e["code"], " ", e["param"])
}

// logged waits until the log, which comes through a pipe, holds a text.
func (v *target) logged(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the log holds "+text, func() bool { return strings.Contains(v.Logs.String(), text) })
}

// unseen fails where the backend is sent anything while f runs.
func (v *target) unseen(t *testing.T, f func()) {
	t.Helper()
	before := len(v.backend.seen())
	f()
	if after := v.backend.seen(); len(after) != before {
		t.Errorf("the backend was sent %+v", after[before:])
	}
}
