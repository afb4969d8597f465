package pinegate

import (
	"slices"
	"sync"
)

// running holds the apps that have started and not stopped. Caddy's active
// context becomes that of a new configuration only once all of its apps have
// started, when its listeners have served for a while.
var running runningApps

type runningApps struct {
	mu   sync.Mutex
	apps []*App // the newest last
}

func (r *runningApps) add(app *App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apps = append(r.apps, app)
}

func (r *runningApps) remove(app *App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apps = slices.DeleteFunc(r.apps, func(a *App) bool { return a == app })
}

// newest returns the app that started last, or nil if none runs. During a
// reload two of them run.
func (r *runningApps) newest() *App {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.apps); n > 0 {
		return r.apps[n-1]
	}
	return nil
}

// starting reports whether the process has not started a configuration yet.
func (r *runningApps) starting() bool { return r.newest() == nil }
