//go:build unix

package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

const slots = 16384

// ClusterSet is a Cluster of three masters with a replica each.
type ClusterSet struct {
	Servers []*Server // the first three were the masters at the start, the others their replicas

	t      testing.TB
	client *redis.ClusterClient
}

// Cluster starts a Cluster and waits until all nodes report it as complete.
func Cluster(t testing.TB) *ClusterSet {
	t.Helper()
	set := &ClusterSet{t: t}
	for range 6 {
		bus := freePort(t) // not the port + 10000, which may be taken
		set.Servers = append(set.Servers, newServer(t, "node", Options{},
			"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-port "+strconv.Itoa(bus),
			"cluster-node-timeout 2000", "cluster-replica-validity-factor 0"))
	}
	startAll(t, set.Servers)
	for i, s := range set.Servers[:3] {
		s.Do("cluster", "addslotsrange", i*slots/3, (i+1)*slots/3-1)
		s.Do("cluster", "set-config-epoch", i+1)
	}
	for _, s := range set.Servers[1:] {
		_, bus, _ := strings.Cut(s.busAddr(), "@")
		set.Servers[0].Do("cluster", "meet", "127.0.0.1", s.port, bus)
	}
	for i, s := range set.Servers[3:] {
		master := set.Servers[i]
		id := master.Do("cluster", "myid")
		s.until("knows its master", func(ctx context.Context) error { return s.client.Do(ctx, "cluster", "replicate", id).Err() })
	}
	for i, s := range set.Servers {
		s.until("finds the Cluster complete", func(ctx context.Context) error { return complete(ctx, s) })
		if i >= 3 {
			s.until("is in step", s.replicates)
		}
	}
	addrs := make([]string, len(set.Servers))
	for i, s := range set.Servers {
		addrs[i] = s.Addr()
	}
	set.client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, Protocol: 2, DisableIdentity: true, DisableRoutingPolicies: true})
	t.Cleanup(func() { _ = set.client.Close() })
	return set
}

// busAddr returns a node's own address with its bus port, as in 127.0.0.1:7000@17000.
func (s *Server) busAddr() string {
	s.t.Helper()
	for line := range strings.Lines(s.Do("cluster", "nodes").(string)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.Contains(fields[2], "myself") {
			addr, _, _ := strings.Cut(fields[1], ",")
			return addr
		}
	}
	s.t.Fatalf("%s %d does not know itself", s.name, s.port)
	return ""
}

// complete reports an error until a node sees six nodes, three of them masters with all slots.
func complete(ctx context.Context, s *Server) error {
	info, err := s.client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for _, want := range []string{"cluster_state:ok", "cluster_known_nodes:6", "cluster_size:3"} {
		if !strings.Contains(info, want) {
			return fmt.Errorf("it has no %s", want)
		}
	}
	nodes, err := s.client.ClusterNodes(ctx).Result()
	if err == nil && strings.Count(nodes, " slave ")+strings.Count(nodes, "myself,slave ") != 3 {
		err = fmt.Errorf("it does not know all replicas")
	}
	return err
}

// URLs returns the URLs of the nodes.
func (set *ClusterSet) URLs() []string { return urls(set.Servers) }

// Client returns a client of the Cluster. It is closed when the test ends.
func (set *ClusterSet) Client() *redis.ClusterClient { return set.client }

// Flush deletes all keys of all running masters. It calls each node directly, because the client's slot
// map may still contain a master that has just been killed.
func (set *ClusterSet) Flush() {
	set.t.Helper()
	ctx := context.Background()
	for _, s := range set.Servers {
		if !s.running() {
			continue
		}
		role, err := s.client.Do(ctx, "role").Slice()
		if err == nil && len(role) > 0 && role[0] == "master" {
			err = s.client.FlushAll(ctx).Err()
		}
		if err != nil {
			set.t.Fatalf("flushing %s of the Cluster: %v", s.Addr(), err)
		}
	}
}

// Owner returns the node that has a key's slot.
func (set *ClusterSet) Owner(key string) *Server {
	set.t.Helper()
	owner, err := set.owner(context.Background(), key)
	if err != nil {
		set.t.Fatalf("finding the owner of %s: %v", key, err)
	}
	return owner
}

func (set *ClusterSet) owner(ctx context.Context, key string) (*Server, error) {
	var running *Server
	for _, s := range set.Servers {
		if s.running() {
			running = s
		}
	}
	slot, err := running.client.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	nodes, err := running.client.ClusterNodes(ctx).Result()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(nodes) {
		fields := strings.Fields(line) // id, address, flags, master, three times, link, and ranges of slots
		if len(fields) < 9 || !has(fields[8:], slot) {
			continue
		}
		addr, _, _ := strings.Cut(fields[1], "@")
		for _, s := range set.Servers {
			if s.Addr() == addr {
				return s, nil
			}
		}
	}
	return nil, fmt.Errorf("nobody has slot %d", slot)
}

// has reports whether slot is in one of ranges, such as 0-5460 or 5461.
func has(ranges []string, slot int64) bool {
	for _, r := range ranges {
		first, last, found := strings.Cut(r, "-")
		if !found {
			last = first
		}
		from, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			continue // a slot that is moving to another node
		}
		to, err := strconv.ParseInt(last, 10, 64)
		if err == nil && from <= slot && slot <= to {
			return true
		}
	}
	return false
}

// Move moves a key's slot to another master, as an operator does, key by key. It calls meanwhile during
// the migration, when the old owner answers ASK, or TRYAGAIN, for keys that it does not have.
func (set *ClusterSet) Move(key string, to *Server, meanwhile func()) {
	set.t.Helper()
	from := set.Owner(key)
	slot := from.Do("cluster", "keyslot", key)
	fromID, toID := from.Do("cluster", "myid"), to.Do("cluster", "myid")
	to.Do("cluster", "setslot", slot, "importing", fromID)
	from.Do("cluster", "setslot", slot, "migrating", toID)
	for first := true; ; first = false {
		keys := from.Do("cluster", "getkeysinslot", slot, 100).([]any)
		if len(keys) == 0 {
			break
		}
		for i, k := range keys {
			from.Do("migrate", "127.0.0.1", to.port, k, 0, 5000)
			if first && i == 0 {
				meanwhile()
			}
		}
	}
	for _, s := range []*Server{to, from} {
		s.Do("cluster", "setslot", slot, "node", toID)
	}
}

// Failover promotes the replica of a key's owner, as an operator would, and waits until it is the master.
// It returns the old owner.
func (set *ClusterSet) Failover(key string) (old *Server) {
	set.t.Helper()
	old = set.Owner(key)
	id := old.Do("cluster", "myid").(string)
	for _, s := range set.Servers {
		if s == old {
			continue
		}
		for line := range strings.Lines(s.Do("cluster", "nodes").(string)) {
			if strings.Contains(line, "myself") && strings.Contains(line, " "+id+" ") {
				s.Do("cluster", "failover")
			}
		}
	}
	set.WaitFailover(key, old)
	return old
}

// WaitFailover waits until another node than old has a key's slot and reports the Cluster as complete,
// as after old.Kill().
func (set *ClusterSet) WaitFailover(key string, old *Server) {
	set.t.Helper()
	set.Servers[0].until("sees another owner of "+key, func(ctx context.Context) error {
		owner, err := set.owner(ctx, key)
		if err != nil {
			return err
		}
		if owner == old {
			return fmt.Errorf("it is the old one")
		}
		info, err := owner.client.ClusterInfo(ctx).Result()
		if err == nil && !strings.Contains(info, "cluster_state:ok") {
			err = fmt.Errorf("the Cluster is not complete")
		}
		return err
	})
}
