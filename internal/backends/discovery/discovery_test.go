package discovery

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestDiscoveryLogsChangesOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	d := &Discovery{Backend: "mock", Every: 10 * time.Minute, Catalog: new(Catalog), Names: new(Names), Logger: zap.New(core)}
	list, failure := []wire.Model{{ID: "a"}}, errors.New("away")
	for _, step := range []struct {
		models []wire.Model
		err    error
		want   string // the log line, if any
		wait   time.Duration
	}{
		{nil, failure, "cannot list the backend's models", 5 * time.Second},
		{nil, failure, "", 10 * time.Second},
		{nil, failure, "", 20 * time.Second},
		{list, nil, "models discovered", 10 * time.Minute},
		{list, nil, "", 10 * time.Minute},
		{append(list, wire.Model{ID: "b"}), nil, "models discovered", 10 * time.Minute},
		{nil, failure, "cannot list the backend's models", 5 * time.Second},
	} {
		d.store(step.models, step.err)
		lines := logs.TakeAll()
		if step.want == "" && len(lines) > 0 || step.want != "" && (len(lines) != 1 || !strings.HasPrefix(lines[0].Message, step.want)) {
			t.Errorf("logged %v, want %q", lines, step.want)
		}
		if wait := d.wait(); wait < step.wait*9/10 || wait > step.wait*11/10+1 {
			t.Errorf("waits %s, want about %s", wait, step.wait)
		}
	}
	d.failures = 1 << 20
	if wait := d.wait(); wait < 9*time.Minute || wait > 11*time.Minute+1 {
		t.Errorf("after many failures it waits %s", wait)
	}
}
