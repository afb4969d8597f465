//go:build unix

package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// SentinelMaster is the name under which sentinels monitor the master.
const SentinelMaster = "pinemaster"

// SentinelSet is a master, two replicas, and three sentinels of which two must agree.
type SentinelSet struct {
	Servers   []*Server // the first was the master at the start
	Sentinels []*Server

	t testing.TB
}

// Sentinel starts a set and waits until all sentinels have discovered each other and the replicas are in
// sync.
func Sentinel(t testing.TB) *SentinelSet {
	t.Helper()
	set := &SentinelSet{t: t}
	var master *Server
	for i := range 3 {
		s := newServer(t, "redis", Options{})
		if i == 0 {
			master = s
		} else {
			s.args = []string{"--replicaof", "127.0.0.1 " + strconv.Itoa(master.port)}
		}
		set.Servers = append(set.Servers, s)
	}
	startAll(t, set.Servers)
	for range 3 {
		s := newServer(t, "sentinel", Options{})
		// Without the lines of a server's configuration that a sentinel does not support.
		lines := []string{
			"bind 127.0.0.1", "port " + strconv.Itoa(s.port), "dir " + s.dir,
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", SentinelMaster, master.port),
			fmt.Sprintf("sentinel down-after-milliseconds %s 1500", SentinelMaster),
			fmt.Sprintf("sentinel failover-timeout %s 5000", SentinelMaster),
		}
		if err := os.WriteFile(s.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatalf("writing the configuration of a sentinel: %v", err)
		}
		s.args = []string{"--sentinel"}
		set.Sentinels = append(set.Sentinels, s)
	}
	startAll(t, set.Sentinels)
	for _, s := range set.Sentinels {
		s.until("knows the set", func(ctx context.Context) error {
			return knows(ctx, s, map[string]string{"num-slaves": "2", "num-other-sentinels": "2", "flags": "master"})
		})
	}
	for _, s := range set.Servers[1:] {
		s.until("is in step", func(ctx context.Context) error { return s.replicates(ctx) })
	}
	return set
}

// replicates reports an error until a replica is in sync with its master.
func (s *Server) replicates(ctx context.Context) error {
	info, err := s.client.Info(ctx, "replication").Result()
	if err == nil && !strings.Contains(info, "master_link_status:up") {
		err = fmt.Errorf("its link to the master is down")
	}
	return err
}

// knows reports an error until a sentinel reports the values in want for the master.
func knows(ctx context.Context, s *Server, want map[string]string) error {
	flat, err := s.client.Do(ctx, "sentinel", "master", SentinelMaster).StringSlice()
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(flat); i += 2 {
		if value, ok := want[flat[i]]; ok && value != flat[i+1] {
			return fmt.Errorf("its %s is %s", flat[i], flat[i+1])
		}
	}
	return nil
}

// URLs returns the URLs of the sentinels.
func (set *SentinelSet) URLs() []string {
	return urls(set.Sentinels)
}

// Master returns the server that the sentinels report as the master.
func (set *SentinelSet) Master() *Server {
	set.t.Helper()
	master, err := set.master(context.Background())
	if err != nil {
		set.t.Fatalf("asking for the master: %v", err)
	}
	return master
}

func (set *SentinelSet) master(ctx context.Context) (*Server, error) {
	addr, err := set.Sentinels[0].client.Do(ctx, "sentinel", "get-master-addr-by-name", SentinelMaster).StringSlice()
	if err != nil || len(addr) != 2 {
		return nil, fmt.Errorf("got %v, %w", addr, err)
	}
	i := slices.IndexFunc(set.Servers, func(s *Server) bool { return s.Addr() == net.JoinHostPort(addr[0], addr[1]) })
	if i < 0 {
		return nil, fmt.Errorf("%v is none of the set", addr)
	}
	return set.Servers[i], nil
}

// Failover promotes a replica, as an operator would, and waits until it is the master. It returns the old
// master once that is a replica: sentinels demote it last, and until then clients that are connected to
// it use it as the master.
func (set *SentinelSet) Failover() (old *Server) {
	set.t.Helper()
	old = set.Master()
	set.Sentinels[0].until("starts the failover", func(ctx context.Context) error {
		return set.Sentinels[0].client.Do(ctx, "sentinel", "failover", SentinelMaster).Err()
	})
	set.WaitFailover(old)
	old.until("is a replica", func(ctx context.Context) error {
		role, err := old.client.Do(ctx, "role").Slice()
		if err == nil && role[0] != "slave" {
			err = fmt.Errorf("it is a %v yet", role[0])
		}
		return err
	})
	return old
}

// WaitFailover waits until another server than old is the master, as after old.Kill().
func (set *SentinelSet) WaitFailover(old *Server) {
	set.t.Helper()
	set.Sentinels[0].until("has another master", func(ctx context.Context) error {
		master, err := set.master(ctx)
		if err != nil {
			return err
		}
		if master == old {
			return fmt.Errorf("it is the old one")
		}
		role, err := master.client.Do(ctx, "role").Slice()
		if err == nil && role[0] != "master" {
			err = fmt.Errorf("it is a %v yet", role[0])
		}
		return err
	})
}

func startAll(t testing.TB, servers []*Server) {
	t.Helper()
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { errs[i] = s.start() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatalf("starting Redis servers: %v", err)
		}
	}
}

func urls(servers []*Server) []string {
	out := make([]string, len(servers))
	for i, s := range servers {
		out[i] = s.URL
	}
	return out
}
