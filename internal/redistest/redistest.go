//go:build unix

// Package redistest starts real Redis or Valkey servers for tests: a single server, a Sentinel set or
// a Cluster. They listen on loopback, write to temporary directories, and end with the test, however
// it ends. They can be killed, stopped, restarted, flushed and failed over.
//
// The program is redis-server, else valkey-server, or the one named by the environment variable
// PINEGATE_REDIS_SERVER.
package redistest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is the timeout for all operations of a server.
const patience = time.Minute

// Options are the options of a server. The zero value is a server on a TCP port, without a password.
type Options struct {
	// Password is that of the default user (requirepass).
	Password string

	// User, if set, is the name of a user with UserPassword and the ACL rules of UserRules, such as
	// "~pinegate:* +@all". URL names it.
	User, UserPassword, UserRules string

	// TLS makes the server accept only TLS, with a certificate for 127.0.0.1 and localhost whose
	// authority is in Server.TLS.
	TLS bool

	// Unix makes the server listen on a unix socket only.
	Unix bool

	// Config are additional configuration lines, such as "maxmemory 2mb".
	Config []string
}

// Server is one server process.
type Server struct {
	// URL is the address: redis://, rediss:// or unix://, with user and password.
	URL string

	// TLS trusts the authority of the server's certificate; nil without TLS.
	TLS *tls.Config

	t      testing.TB
	name   string
	dir    string
	port   int
	config string // path
	args   []string
	opts   Options
	client *redis.Client

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
	log     *bytes.Buffer // what the process wrote; read after it has ended
}

// Standalone starts one server and waits until it answers.
func Standalone(t testing.TB, opts Options) *Server {
	t.Helper()
	var err error
	// Another process may take a free port before the server does.
	for range 5 {
		s := newServer(t, "redis", opts)
		if err = s.start(); err == nil {
			return s
		}
	}
	t.Fatalf("starting a Redis server: %v", err)
	return nil
}

// newServer returns a server that is not started.
func newServer(t testing.TB, name string, opts Options, extra ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redistest") // a short path: a socket's may have 104 bytes
	if err != nil {
		t.Fatalf("making a folder for Redis: %v", err)
	}
	s := &Server{t: t, name: name, dir: dir, port: freePort(t), opts: opts, config: filepath.Join(dir, "redis.conf")}
	t.Cleanup(func() {
		s.Kill()
		_ = s.client.Close()
		_ = os.RemoveAll(dir)
	})
	lines := append([]string{
		"bind 127.0.0.1", "dir " + dir, `save ""`, "appendonly no", "daemonize no", "loglevel notice",
		// A replica must be in sync at once, and a save in a test must not fork for long.
		"repl-diskless-sync-delay 0",
	}, extra...)
	u := &url.URL{Scheme: "redis", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))}
	switch {
	case opts.Unix:
		socket := filepath.Join(dir, "redis.sock")
		lines = append(lines, "port 0", "unixsocket "+socket, "unixsocketperm 700")
		u = &url.URL{Scheme: "unix", Path: socket}
	case opts.TLS:
		s.TLS = certify(t, dir)
		lines = append(lines, "port 0", "tls-port "+strconv.Itoa(s.port), "tls-auth-clients no",
			"tls-cert-file "+filepath.Join(dir, certFile), "tls-key-file "+filepath.Join(dir, keyFile), "tls-ca-cert-file "+filepath.Join(dir, caFile))
		u.Scheme = "rediss"
	default:
		lines = append(lines, "port "+strconv.Itoa(s.port))
	}
	if opts.Password != "" {
		lines = append(lines, "requirepass "+opts.Password)
		u.User = url.UserPassword("", opts.Password)
	}
	if opts.User != "" {
		lines = append(lines, fmt.Sprintf("user %s on >%s %s", opts.User, opts.UserPassword, opts.UserRules))
		u.User = url.UserPassword(opts.User, opts.UserPassword)
	}
	s.URL = u.String()
	lines = append(lines, opts.Config...)
	if err := os.WriteFile(s.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatalf("writing the configuration of Redis: %v", err)
	}
	s.client = redis.NewClient(s.clientOptions())
	return s
}

// clientOptions returns the options of the test's own client, which is the default user.
func (s *Server) clientOptions() *redis.Options {
	o := &redis.Options{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Password: s.opts.Password, TLSConfig: s.TLS,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, PoolSize: 4,
	}
	if s.opts.Unix {
		o.Network, o.Addr = "unix", filepath.Join(s.dir, "redis.sock")
	}
	return o
}

// Client returns a client of the server as its default user. It is closed when the test ends.
func (s *Server) Client() *redis.Client { return s.client }

// Addr returns host:port, if the server has a port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// start starts the process and waits until the server answers.
func (s *Server) start() error {
	process := exec.Command(program(s.t), append([]string{s.config}, s.args...)...)
	process.SysProcAttr = endWithTest()
	log := new(bytes.Buffer)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", process.Path, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = process.Wait()
	}()
	s.mu.Lock()
	s.process, s.ended, s.log = process, ended, log
	s.mu.Unlock()

	deadline := time.After(patience)
	for {
		err := s.answers()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s %d ended: %s", s.name, s.port, log)
		case <-deadline:
			s.Kill()
			return fmt.Errorf("%s %d does not answer: %w: %s", s.name, s.port, err, log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// answers reports an error until the server listens and answers. It dials before it uses the client,
// because the client logs a refused connection.
func (s *Server) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	o := s.client.Options()
	conn, err := new(net.Dialer).DialContext(ctx, o.Network, o.Addr)
	if err != nil {
		return err
	}
	_ = conn.Close()
	return s.client.Ping(ctx).Err()
}

// Kill ends the process at once (SIGKILL). Its data in memory is lost.
func (s *Server) Kill() {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.process = nil
	s.mu.Unlock()
	if process == nil {
		return
	}
	_ = process.Process.Kill()
	<-ended
}

// Restart starts the server again on the same port and directory, killing it first if it runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("restarting a Redis server: %v", err)
	}
}

// running reports whether there is a process, which may be stopped.
func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil
}

// Stop stops the process (SIGSTOP) until Cont: connections stay open, and nothing answers.
func (s *Server) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	s.until("stands still", func(context.Context) error { return stopped(s.pid()) })
}

// Cont continues a stopped process (SIGCONT).
func (s *Server) Cont() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.pid(), signal); err != nil {
		s.t.Fatalf("sending %v to Redis: %v", signal, err)
	}
}

func (s *Server) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Fatalf("%s %d does not run", s.name, s.port)
	}
	return s.process.Process.Pid
}

// Flush deletes all keys (FLUSHALL).
func (s *Server) Flush() {
	s.t.Helper()
	s.Do("flushall")
}

// Do sends a command and returns the reply. It fails the test if the reply is an error.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := s.client.Do(ctx, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("sending %v to Redis: %v", args, err)
	}
	return answer
}

// Calls returns how often a command was called since the start, or since CONFIG RESETSTAT.
func (s *Server) Calls(command string) int {
	s.t.Helper()
	for line := range strings.Lines(s.Do("info", "commandstats").(string)) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				s.t.Fatalf("reading the calls of %s: %v", command, err)
			}
			return n
		}
	}
	return 0
}

// CPU returns the CPU time that the server has used.
func (s *Server) CPU() (total time.Duration) {
	s.t.Helper()
	for line := range strings.Lines(s.Do("info", "cpu").(string)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatalf("reading the processor time of Redis: %v", err)
			}
			total += time.Duration(seconds * float64(time.Second))
		}
	}
	return total
}

// until polls met until it returns nil. Events of another process can only be polled.
func (s *Server) until(what string, met func(ctx context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := met(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("waiting until %s %d %s: %v", s.name, s.port, what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// program returns the path of the server program.
func program(t testing.TB) string {
	t.Helper()
	if name := os.Getenv("PINEGATE_REDIS_SERVER"); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("PINEGATE_REDIS_SERVER: %v", err)
		}
		return path
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no redis-server: please install the package redis-server (Debian) or redis (Homebrew), or name a server in PINEGATE_REDIS_SERVER")
	return ""
}

// given are the ports that freePort has returned: their servers may not listen yet, or be killed for a
// while.
var given sync.Map

// freePort returns a free port below the ephemeral range, so that no other process takes it by chance
// before the server listens or while it is killed, and a client that dials it then does not connect to
// itself.
func freePort(t testing.TB) int {
	t.Helper()
	var err error
	for range 100 {
		port := 10_000 + rand.IntN(22_000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatalf("finding a free port: %v", err)
	return 0
}
