package pinegate

import (
	"errors"
	"iter"
	"net/http"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// errNoRuntimeKeys is returned if no gate takes runtime keys. It names the
// missing option.
var errNoRuntimeKeys = errors.New("no gate takes keys that are made at runtime: write `keys store` into its pinegate block")

// controlPlane implements the control plane of a configuration.
type controlPlane struct{ *App }

// Registry implements [control.Gate].
func (a controlPlane) Registry() (*registry.Registry, error) {
	if !a.runtimeKeys {
		return nil, errNoRuntimeKeys
	}
	return a.store.Registry(), nil
}

// Configured implements [control.Gate].
func (a controlPlane) Configured() iter.Seq[*keys.Key] {
	return func(yield func(*keys.Key) bool) {
		seen := make(map[string]bool)
		for _, store := range a.keyStores {
			for key := range store.Current().All() {
				if key.Runtime || seen[key.ID] {
					continue
				}
				seen[key.ID] = true
				if !yield(key) {
					return
				}
			}
		}
	}
}

// ConfiguredTeam implements [control.Gate].
func (a controlPlane) ConfiguredTeam(id string) bool {
	_, ok := a.definitions[definition{"team", id}]
	return ok
}

// ServeUsage implements [control.Gate].
func (a controlPlane) ServeUsage(w http.ResponseWriter, r *http.Request) *control.Problem {
	refusal := handlers.WriteUsage(a.store.Local(), a.logger, w, r)
	if refusal == nil {
		return nil
	}
	detail := refusal.Error()
	if refusal.Message != "" {
		detail = refusal.Message
	}
	if refusal.Param != "" {
		detail = refusal.Param + " " + detail
	}
	return control.NewProblem(refusal.StatusCode(), detail)
}

var _ control.Gate = controlPlane{}
