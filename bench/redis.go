package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisStore is a Redis server of the bench's own.
type redisStore struct {
	server  *server
	client  *redis.Client
	process process
}

// startRedis starts a Redis on loopback that writes nothing down, nil where none is
// installed.
func startRedis(dir string) (*redisStore, error) {
	program, err := exec.LookPath("redis-server")
	if errors.Is(err, exec.ErrNotFound) {
		program, err = exec.LookPath("valkey-server")
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &redisStore{server: new(server)}
	if s.server.address, err = freeAddress(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.server.address)
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(dir, "redis")
	if err != nil {
		return nil, err
	}
	command := exec.Command(program, "-")
	command.Stdin = strings.NewReader(fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsave \"\"\nappendonly no\n", port, home))
	s.client = redis.NewClient(&redis.Options{Addr: s.server.address, Protocol: 2, MaxRetries: -1, DialerRetries: 1})
	err = startServer(command, s.server, func() error {
		conn, err := net.DialTimeout("tcp", s.server.address, time.Second)
		if err != nil {
			return err
		}
		_ = conn.Close()
		return s.client.Ping(context.Background()).Err()
	})
	if err != nil {
		return nil, err
	}
	s.process, err = processOf(s.server.command.Process.Pid)
	return s, err
}

func (s *redisStore) address() string {
	if s == nil {
		return ""
	}
	return s.server.address
}

// redisWork is what a Redis has done, by its own count.
type redisWork struct {
	Scripts  float64 `json:"scripts"`  // runs of one
	Commands float64 `json:"commands"` // all of them, those within scripts included
	Reads    float64 `json:"reads"`    // from connections: pipelined commands come in one
	CPU      float64 `json:"cpu_ns"`
}

// done returns what the server has done since its start.
func (s *redisStore) done() (w redisWork, err error) {
	if s == nil {
		return w, nil
	}
	info, err := s.client.Info(context.Background(), "stats", "commandstats").Result()
	if err != nil {
		return w, fmt.Errorf("asking Redis what it has done: %w", err)
	}
	cpu, err := s.process.cpu()
	if err != nil {
		return w, err
	}
	w, err = parseRedisInfo(strings.NewReader(info))
	w.CPU = float64(cpu)
	return w, err
}

// scriptCommands run a script.
var scriptCommands = []string{"eval", "evalsha", "fcall"}

// parseRedisInfo reads the sections stats and commandstats of INFO.
func parseRedisInfo(from io.Reader) (w redisWork, err error) {
	text, err := io.ReadAll(from)
	if err != nil {
		return w, err
	}
	counts := map[string]*float64{"total_commands_processed": &w.Commands, "total_reads_processed": &w.Reads}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		into := counts[name]
		for _, command := range scriptCommands {
			if name == "cmdstat_"+command {
				into = &w.Scripts
				value, _, _ = strings.Cut(strings.TrimPrefix(value, "calls="), ",")
			}
		}
		if into == nil {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return w, fmt.Errorf("reading INFO of Redis: %w", err)
		}
		*into += n
	}
	return w, nil
}

// less is what was done between two readings, for each of n.
func (w redisWork) less(before redisWork, n int) redisWork {
	each := func(now, then float64) float64 { return (now - then) / float64(max(n, 1)) }
	return redisWork{each(w.Scripts, before.Scripts), each(w.Commands, before.Commands), each(w.Reads, before.Reads), each(w.CPU, before.CPU)}
}
