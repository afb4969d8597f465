//go:build unix

package redistest

import (
	"context"
	"testing"
	"time"
)

func set(t *testing.T, s *Server) { t.Helper(); s.Do("set", "k", "v") }

func get(t *testing.T, s *Server) bool {
	t.Helper()
	return s.Do("get", "k") == "v"
}

func TestStandaloneCanBeFlushedKilledStoppedAndRestarted(t *testing.T) {
	for name, opts := range map[string]Options{
		"port":     {},
		"password": {Password: "hush"},
		"user":     {User: "gate", UserPassword: "hush", UserRules: "~pinegate:* +@all"},
		"TLS":      {TLS: true, Password: "hush"},
		"unix":     {Unix: true},
		"config":   {Config: []string{"maxmemory 100mb"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := Standalone(t, opts)
			set(t, s)
			if s.Flush(); get(t, s) {
				t.Error("a key survived FLUSHALL")
			}
			set(t, s)
			if s.Calls("set") != 2 {
				t.Errorf("%d calls of SET", s.Calls("set"))
			}
			s.Stop()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if err := s.Client().Ping(ctx).Err(); err == nil {
				t.Error("a stopped server answered")
			}
			s.Cont()
			if !get(t, s) {
				t.Error("a key did not survive SIGSTOP")
			}
			s.Kill()
			if err := s.Client().Ping(context.Background()).Err(); err == nil {
				t.Error("a killed server answered")
			}
			if s.Restart(); get(t, s) {
				t.Error("a key survived SIGKILL")
			}
		})
	}
}

func TestSentinelFailsOver(t *testing.T) {
	s := Sentinel(t)
	first := s.Master()
	if old := s.Failover(); old != first || s.Master() == first {
		t.Error("the master is the same after a failover")
	}
	second := s.Master()
	second.Kill()
	s.WaitFailover(second)
	set(t, s.Master())
}

func TestClusterFailsOver(t *testing.T) {
	c := Cluster(t)
	ctx := context.Background()
	if err := c.Client().Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if old := c.Failover("k"); c.Owner("k") == old {
		t.Error("the owner is the same after a failover")
	}
	second := c.Owner("k")
	second.Kill()
	c.WaitFailover("k", second)
	c.Flush()
}
