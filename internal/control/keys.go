package control

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/pattern"
)

// Key is a key in the API: a runtime key, or one of the configuration, which
// can only be changed there.
type Key struct {
	registry.Key
	Source string `json:"source"` // store or config
}

// KeyPage is one page of the list of keys.
type KeyPage struct {
	Data []Key `json:"data"`
	// The value of `after` for the next page; null on the last page.
	Next *string `json:"next"`
}

// CreatedKey is a key with its secret, which is shown only once.
type CreatedKey struct {
	ID  string `json:"id"`
	Key string `json:"key"`
	// The key without its secret.
	Details Key `json:"details"`
}

const (
	sourceStore  = "store"
	sourceConfig = "config"
)

const defaultPage, maxPage = 100, 1000

// listKeys answers GET keys?team=&source=&after=&limit=, in the order of ids.
func (c *call) listKeys() *Problem {
	query := c.r.URL.Query()
	limit, problem := c.pageLength()
	if problem != nil {
		return problem
	}
	var all []Key
	if reg, err := c.gate.Registry(); err == nil {
		for _, key := range reg.Snapshot().Keys() {
			all = append(all, Key{*key, sourceStore})
		}
	}
	for key := range c.gate.Configured() {
		all = append(all, configured(key))
	}
	all = slices.DeleteFunc(all, func(k Key) bool {
		return k.ID <= query.Get("after") && query.Has("after") ||
			query.Has("team") && k.Team != query.Get("team") ||
			query.Has("source") && k.Source != query.Get("source")
	})
	slices.SortFunc(all, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	page := KeyPage{Data: all}
	if len(all) > limit {
		page.Data = all[:limit]
		page.Next = &page.Data[limit-1].ID
	}
	if page.Data == nil {
		page.Data = []Key{}
	}
	return c.answer(http.StatusOK, page)
}

// configured returns the API's form of a key of the configuration.
func configured(key *keys.Key) Key {
	shown := Key{Source: sourceConfig}
	shown.ID, shown.Team, shown.Disabled = key.ID, key.Team, key.Disabled
	shown.Models, shown.Endpoints, shown.Limits = patternTexts(key.Models), key.Endpoints, key.Limits
	if !key.Expires.IsZero() {
		shown.Expires = key.Expires.Format(time.RFC3339)
	}
	for _, network := range key.AllowIP {
		shown.AllowIP = append(shown.AllowIP, network.String())
	}
	shown.Secrets = []registry.Secret{}
	return shown
}

func patternTexts(list pattern.List) []string {
	if list == nil {
		return nil
	}
	if len(list) == 0 {
		return []string{"none"}
	}
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}

// find returns the key with the id.
func (c *call) find(id string) (Key, *Problem) {
	if reg, err := c.gate.Registry(); err == nil {
		if key := reg.Snapshot().Key(id); key != nil {
			return Key{*key, sourceStore}, nil
		}
	}
	if key := c.configuredKey(id); key != nil {
		return configured(key), nil
	}
	return Key{}, problemf(http.StatusNotFound, "there is no key %q", id)
}

func (c *call) configuredKey(id string) *keys.Key {
	for key := range c.gate.Configured() {
		if key.ID == id {
			return key
		}
	}
	return nil
}

func (c *call) showKey() *Problem {
	key, problem := c.find(c.r.PathValue("id"))
	if problem != nil {
		return problem
	}
	return c.answer(http.StatusOK, key)
}

// NewKey is the body of POST keys.
type NewKey struct {
	// The id of the key, which cannot be changed.
	ID string `json:"id"`
	// The environment, which is in the prefix of the secret: live or test. Default: live.
	Env string `json:"env,omitempty"`
	registry.KeySpec
}

func (c *call) createKey() *Problem {
	reg, problem := c.registry()
	if problem != nil {
		return problem
	}
	asked, problem := decode[NewKey](c)
	if problem != nil {
		return problem
	}
	if c.configuredKey(asked.ID) != nil {
		return problemf(http.StatusConflict, "the configuration has a key %q", asked.ID)
	}
	key, secret, err := reg.CreateKey(c.r.Context(), c.actor(), asked.ID, env(asked.Env), asked.KeySpec)
	if err != nil {
		return c.problem(err)
	}
	c.w.Header().Set("Location", Base+"keys/"+key.ID)
	return c.answer(http.StatusCreated, CreatedKey{key.ID, secret, Key{*key, sourceStore}})
}

func env(asked string) string {
	if asked == "" {
		return "live"
	}
	return asked
}

// editable returns the registry and the id in the path, for a change of that
// key. A key of the configuration is a problem.
func (c *call) editable() (*registry.Registry, string, *Problem) {
	id := c.r.PathValue("id")
	reg, problem := c.registry()
	if problem == nil && reg.Snapshot().Key(id) == nil && c.configuredKey(id) != nil {
		problem = problemf(http.StatusConflict, "key %q is of the configuration: change it there", id)
	}
	return reg, id, problem
}

// updateKey answers PATCH keys/{id}, a JSON merge patch. `If-Match: "<version>"`
// makes it conditional on a version.
func (c *call) updateKey() *Problem {
	reg, id, problem := c.editable()
	if problem != nil {
		return problem
	}
	version, problem := c.ifMatch()
	if problem != nil {
		return problem
	}
	patch, problem := c.body()
	if problem != nil {
		return problem
	}
	key, err := reg.UpdateKey(c.r.Context(), c.actor(), id, patch, version)
	if err != nil {
		return c.problem(err)
	}
	return c.answer(http.StatusOK, Key{*key, sourceStore})
}

// ifMatch returns the version in If-Match, 0 if there is none.
func (c *call) ifMatch() (int64, *Problem) {
	text := c.r.Header.Get("If-Match")
	if text == "" || text == "*" {
		return 0, nil
	}
	version, err := strconv.ParseInt(strings.Trim(text, `"`), 10, 64)
	if err != nil || version < 1 {
		return 0, problemf(http.StatusBadRequest, `If-Match: expected a version, as in "3"`)
	}
	return version, nil
}

func (c *call) deleteKey() *Problem {
	reg, id, problem := c.editable()
	if problem != nil {
		return problem
	}
	if err := reg.DeleteKey(c.r.Context(), c.actor(), id); err != nil {
		return c.problem(err)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// Rotation is the body of POST keys/{id}/rotate.
type Rotation struct {
	// As in NewKey.
	Env string `json:"env,omitempty"`
	// How long the old secrets stay valid, as in "24h". Default: 0, not at all.
	Grace string `json:"grace,omitempty"`
}

func (c *call) rotateKey() *Problem {
	reg, id, problem := c.editable()
	if problem != nil {
		return problem
	}
	asked, problem := decode[Rotation](c)
	if problem != nil {
		return problem
	}
	var grace time.Duration
	if asked.Grace != "" {
		var err error
		if grace, err = caddy.ParseDuration(asked.Grace); err != nil {
			return problemf(http.StatusBadRequest, "grace: expected a duration, as in 24h or 7d")
		}
	}
	key, secret, err := reg.RotateKey(c.r.Context(), c.actor(), id, env(asked.Env), grace)
	if err != nil {
		return c.problem(err)
	}
	return c.answer(http.StatusOK, CreatedKey{key.ID, secret, Key{*key, sourceStore}})
}

func (c *call) revokeKey() *Problem {
	reg, id, problem := c.editable()
	if problem != nil {
		return problem
	}
	key, err := reg.RevokeKey(c.r.Context(), c.actor(), id)
	if err != nil {
		return c.problem(err)
	}
	return c.answer(http.StatusOK, Key{*key, sourceStore})
}
