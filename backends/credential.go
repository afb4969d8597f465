package backends

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"
)

// anthropicVersion is sent to an Anthropic backend where the caller names none;
// without one the API refuses.
const anthropicVersion = "2023-06-01"

// minSecret is the least length at which a credential counts as a secret where
// answers are searched for it. Model servers without authentication are given
// keys like "none" or "ollama", which are words.
const minSecret = 8

// credential is one api_key: a placeholder and what it stands for. A file is
// read again when it changes.
type credential struct {
	placeholder string
	file        string // "" for an environment variable, which can't change
	value       atomic.Pointer[string]

	next atomic.Int64 // when to look at the file again, in nanoseconds of Unix time
	seen atomic.Pointer[os.FileInfo]
}

// newCredential resolves a placeholder. Its errors never hold what it stands for.
func newCredential(placeholder string) (*credential, error) {
	name, ok := strings.CutPrefix(placeholder, "{")
	name, ok2 := strings.CutSuffix(name, "}")
	file, isFile := strings.CutPrefix(name, "file.")
	variable, isEnv := strings.CutPrefix(name, "env.")
	if !ok || !ok2 || !isFile && !isEnv || file == "" || isEnv && variable == "" || strings.ContainsAny(name, "{}") {
		return nil, errors.New("api_keys: a key stands in no config, since configs are stored and shown; write {env.NAME} or {file./path/to/key} and put the key there")
	}
	c := &credential{placeholder: placeholder}
	if isFile {
		c.file = file
		if info, err := os.Stat(file); err == nil { // before it is read: a change in between is seen later
			c.seen.Store(&info)
		}
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *credential) read() error {
	value, err := caddy.NewReplacer().ReplaceOrErr(c.placeholder, true, true)
	if err != nil {
		return fmt.Errorf("api_keys: %s is unset, empty or unreadable", c.placeholder)
	}
	value = strings.TrimSpace(value)
	if value == "" {
		return fmt.Errorf("api_keys: %s is empty", c.placeholder)
	}
	if !httpguts.ValidHeaderFieldValue(value) || strings.ContainsAny(value, " \t") {
		return fmt.Errorf("api_keys: %s holds a line break, a space or a control character", c.placeholder)
	}
	c.value.Store(&value)
	return nil
}

// get returns the key. A file is looked at once a second at most; where its new
// content is no key, the old one stays.
func (c *credential) get(now time.Time) string {
	if c.file != "" {
		next := c.next.Load()
		if t := now.UnixNano(); t >= next && c.next.CompareAndSwap(next, t+int64(time.Second)) {
			c.refresh()
		}
	}
	return *c.value.Load()
}

func (c *credential) refresh() {
	info, err := os.Stat(c.file) // follows links: Kubernetes swaps one
	if err != nil {
		return
	}
	if old := c.seen.Load(); old != nil && os.SameFile(*old, info) &&
		(*old).ModTime().Equal(info.ModTime()) && (*old).Size() == info.Size() {
		return
	}
	if c.read() == nil {
		c.seen.Store(&info)
	}
}

// credentials are the api_keys of a backend, taken in turn.
type credentials struct {
	keys []*credential
	turn atomic.Uint64
}

func newCredentials(placeholders []string) (*credentials, error) {
	cs := new(credentials)
	for _, p := range placeholders {
		c, err := newCredential(p)
		if err != nil {
			return nil, err
		}
		cs.keys = append(cs.keys, c)
	}
	return cs, nil
}

// set puts the next key into a header, the way the API wants it.
func (cs *credentials) set(h http.Header, api string, now time.Time) {
	if api == apiAnthropic && h.Get("Anthropic-Version") == "" {
		h["Anthropic-Version"] = []string{anthropicVersion}
	}
	if len(cs.keys) == 0 {
		return
	}
	key := cs.keys[(cs.turn.Add(1)-1)%uint64(len(cs.keys))].get(now)
	if api == apiAnthropic {
		h["X-Api-Key"] = []string{key}
	} else {
		h["Authorization"] = []string{"Bearer " + key}
	}
}

// secretsOf returns the credentials that stand in a request's header, those of
// header_up included: what its answer must not tell.
func secretsOf(h http.Header) []string {
	var secrets []string
	for _, name := range carriers {
		for _, value := range h[name] {
			if i := strings.LastIndexByte(value, ' '); i >= 0 {
				value = value[i+1:] // behind "Bearer"
			}
			if len(value) >= minSecret {
				secrets = append(secrets, value)
			}
		}
	}
	return secrets
}

// holdsSecret tells whether a text holds one of the secrets.
func holdsSecret(text string, secrets []string) bool {
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			return true
		}
	}
	return false
}

// holdsSecretFold does so for a header's name, which has lost its case.
func holdsSecretFold(name string, secrets []string) bool {
	for _, secret := range secrets {
		if len(name) >= len(secret) && strings.Contains(strings.ToLower(name), strings.ToLower(secret)) {
			return true
		}
	}
	return false
}
