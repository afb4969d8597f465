package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// gateways are what is measured: the same binary and transport, and no access log
// but where all is on. The first is what the others are compared with.
var gateways = []struct{ name, caddyfile string }{{"bare", bareCaddyfile}, {"gate", gateCaddyfile}, {"all-on", allOnCaddyfile}}

// The gate has one limit, or all that it can do for a request: four limits over
// key, team and model, a price, metrics by key, and an access log.
const (
	bareCaddyfile = `{
	admin off
	persist_config off
}
http://:{$BENCH_PORT} {
	bind 127.0.0.1
	reverse_proxy {$BENCH_UPSTREAM} {
		transport http {
			keepalive_idle_conns_per_host 1024
		}
	}
}
`
	gateCaddyfile = `{
	admin off
	persist_config off
}
http://:{$BENCH_PORT} {
	bind 127.0.0.1
	pinegate {
		key bench {env.BENCH_KEY} {
			limit 1000000 requests/second
		}
		backend mock {$BENCH_UPSTREAM} {
			models bench-model
			transport http {
				keepalive_idle_conns_per_host 1024
			}
		}
	}
}
`
	allOnCaddyfile = `{
	admin off
	persist_config off
	metrics
	pinegate {
		metrics {
			per_key
		}
	}
}
http://:{$BENCH_PORT} {
	bind 127.0.0.1
	log {
		output file {$XDG_DATA_HOME}/access.log
	}
	pinegate {
		key bench {env.BENCH_KEY} {
			team bench
			limit 1000000 requests/second
			limit 1000M tokens/minute
		}
		team bench {
			limit 100000 concurrent
		}
		model bench-* {
			limit 1000000 requests/second
			price input 2.50 output 10
		}
		backend mock {$BENCH_UPSTREAM} {
			models bench-model
			transport http {
				keepalive_idle_conns_per_host 1024
			}
		}
	}
}
`
)

// benchKey is the caller's key; nothing that it opens outlives the run.
const benchKey = "the-key-of-the-benchmark"

// gateway is a running Caddy.
type gateway struct {
	url     string
	process *exec.Cmd
	log     bytes.Buffer
}

// startGateway starts a Caddy in front of upstream and returns when it answers.
func startGateway(binary, dir, name, caddyfile, upstream string) (*gateway, error) {
	home := filepath.Join(dir, name)
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}

	g := &gateway{url: "http://127.0.0.1:" + port, process: exec.Command(binary, "run", "--config", config)}
	g.process.Env = append(os.Environ(), "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		"BENCH_PORT="+port, "BENCH_UPSTREAM="+upstream, "BENCH_KEY="+benchKey)
	g.process.Stdout, g.process.Stderr = &g.log, &g.log
	if err := g.process.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	if err := g.waitReady(); err != nil {
		g.stop()
		return nil, fmt.Errorf("%s: %w\n%s", name, err, g.log.Bytes())
	}
	return g, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), l.Close()
}

// waitReady returns when the gateway passes a request on.
func (g *gateway) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	client := new(http.Client)
	for {
		if err := ask(ctx, client, g.url); err == nil {
			client.CloseIdleConnections()
			return nil
		} else if ctx.Err() != nil {
			return fmt.Errorf("not ready in time: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// stop ends the gateway and waits for its end. How it ends is of no matter.
func (g *gateway) stop() {
	_ = g.process.Process.Signal(os.Interrupt)
	_ = g.process.Wait()
}

// cpu returns the CPU time that the process has used so far, in user and kernel
// mode; none where there is no process.
func (g *gateway) cpu() (time.Duration, error) {
	if g == nil {
		return 0, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.process.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading CPU time, which takes Linux: %w", err)
	}
	return parseCPU(stat)
}

// userHZ is how many of the ticks of /proc make a second: 100 on every
// architecture that Go runs Linux on (see proc(5)).
const userHZ = 100

// parseCPU reads utime and stime, the 14th and 15th field of /proc/<pid>/stat. The
// second one, the command in parentheses, may hold anything.
func parseCPU(stat []byte) (time.Duration, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("/proc/<pid>/stat is too short")
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading /proc/<pid>/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / userHZ, nil
}

// memory returns how much of the machine's memory the process has, in bytes.
func (g *gateway) memory() (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.process.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading memory, which takes Linux: %w", err)
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, errors.New("/proc/<pid>/statm is too short")
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}
