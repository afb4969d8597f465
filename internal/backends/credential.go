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

// Headers in which backends take their keys in a form of their own.
const (
	bearer   = "Authorization" // as "Bearer <key>"
	azureKey = "Api-Key"       // or a token, as Bearer
)

// apiKey is a backend's credential in the form in which it is sent.
type apiKey struct {
	header string   // the header's canonical name
	value  []string // its value, shared by all requests
	id     health.KeyID
}

// newAPIKey returns the credential that sends secret in header. If header is
// Azure's and the secret is a token of Microsoft's Entra ID, it is sent as
// Bearer instead: the content of a key file decides which.
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

// isJWT reports whether a secret is a JSON Web Token: three parts, the first of
// which is a base64-encoded object.
func isJWT(secret string) bool {
	return strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2
}

// credential is one of api_keys: a placeholder and its value. A file is read
// again when it changes.
type credential struct {
	placeholder string
	header      string // in which it is sent
	file        string // "" for an environment variable, which can't change
	value       atomic.Pointer[apiKey]

	next atomic.Int64 // when to check the file again, in Unix nanoseconds
	seen atomic.Pointer[os.FileInfo]
}

// newCredential resolves a placeholder whose key is sent in header, a canonical
// name. Its errors never contain the value.
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
		if info, err := os.Stat(file); err == nil { // before it is read, so that a change in between is noticed
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

// get returns the key. It checks a file at most once a second; if the new
// content is not a valid key, the old key stays.
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
	info, err := os.Stat(c.file) // follows links: Kubernetes replaces one
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

// secretsOf returns the credentials in a request's header, including those of
// header_up: the response must not reveal them.
func secretsOf(h http.Header) []string {
	var secrets []string
	for _, name := range wire.Carriers {
		for _, value := range h[name] {
			if i := strings.LastIndexByte(value, ' '); i >= 0 {
				value = value[i+1:] // after "Bearer"
			}
			if isSecret(value) {
				secrets = append(secrets, value)
			}
		}
	}
	return secrets
}

// holdsSecretFold reports whether a header's name holds a secret, ignoring case,
// which canonical names lose.
func holdsSecretFold(name string, secrets []string) bool {
	for _, secret := range secrets {
		if len(name) >= len(secret) && strings.Contains(strings.ToLower(name), strings.ToLower(secret)) {
			return true
		}
	}
	return false
}
