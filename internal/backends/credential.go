package backends

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// The headers in which backends take their keys.
const (
	bearer       = "Authorization" // as "Bearer <key>"
	anthropicKey = "X-Api-Key"
	azureKey     = "Api-Key"
)

// minSecret is the least length at which a credential counts as a secret where
// answers are searched for it. Model servers without authentication are given
// keys like "none" or "ollama", which are words.
const minSecret = 8

// apiKey is a backend's credential as it is sent.
type apiKey struct {
	header string   // the header's canonical name
	value  []string // its value, shared by all requests
	id     health.KeyID
}

// newAPIKey makes a credential that is sent in the header of this name. A token
// of Microsoft's Entra ID is sent as Bearer where a key would have been sent as
// Azure wants keys: what a file holds decides which of both it is.
func newAPIKey(header, secret string) *apiKey {
	key := &apiKey{header: header, value: []string{secret}, id: sha256.Sum256([]byte(secret))}
	if header == azureKey && isJWT(secret) {
		key.header = bearer
	}
	if key.header == bearer {
		key.value = []string{"Bearer " + secret}
	}
	return key
}

// isJWT reports whether a secret is a JSON Web Token: three parts, of which the
// first is an object in base64.
func isJWT(secret string) bool {
	return strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2
}

// credential is one api_key: a placeholder and what it stands for. A file is
// read again when it changes.
type credential struct {
	placeholder string
	header      string // in which it is sent
	file        string // "" for an environment variable, which can't change
	value       atomic.Pointer[apiKey]

	next atomic.Int64 // when to look at the file again, in nanoseconds of Unix time
	seen atomic.Pointer[os.FileInfo]
}

// newCredential resolves a placeholder, whose key is sent in the header of this
// canonical name. Its errors never hold what it stands for.
func newCredential(placeholder, header string) (*credential, error) {
	name, ok := strings.CutPrefix(placeholder, "{")
	name, ok2 := strings.CutSuffix(name, "}")
	file, isFile := strings.CutPrefix(name, "file.")
	variable, isEnv := strings.CutPrefix(name, "env.")
	if !ok || !ok2 || !isFile && !isEnv || file == "" || isEnv && variable == "" || strings.ContainsAny(name, "{}") {
		return nil, errors.New("api_keys: a key stands in no config, since configs are stored and shown; write {env.NAME} or {file./path/to/key} and put the key there")
	}
	c := &credential{placeholder: placeholder, header: header}
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
	c.value.Store(newAPIKey(c.header, value))
	return nil
}

// get returns the key. A file is looked at once a second at most; where its new
// content is no key, the old one stays.
func (c *credential) get(now time.Time) *apiKey {
	if c.file != "" {
		next := c.next.Load()
		if t := now.UnixNano(); t >= next && c.next.CompareAndSwap(next, t+int64(time.Second)) {
			c.refresh()
		}
	}
	return c.value.Load()
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

// secretsOf returns the credentials that stand in a request's header, those of
// header_up included: what its answer must not show.
func secretsOf(h http.Header) []string {
	var secrets []string
	for _, name := range wire.Carriers {
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

// holdsSecretFold does so for a header's name, which has lost its case.
func holdsSecretFold(name string, secrets []string) bool {
	for _, secret := range secrets {
		if len(name) >= len(secret) && strings.Contains(strings.ToLower(name), strings.ToLower(secret)) {
			return true
		}
	}
	return false
}
