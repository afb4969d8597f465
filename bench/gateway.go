package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// server is a process that the bench has started: a gateway, or Redis.
type server struct {
	address string // host:port
	admin   string // likewise; of a Caddy
	command *exec.Cmd
	ended   chan struct{}
	log     bytes.Buffer // to be read once it has ended
}

// startServer starts a process and returns once ready has no error.
func startServer(command *exec.Cmd, s *server, ready func() error) error {
	s.command, s.ended = command, make(chan struct{})
	command.Stdout, command.Stderr, command.SysProcAttr = &s.log, &s.log, endWithBench()
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", command.Path, err)
	}
	go func() {
		defer close(s.ended)
		_ = command.Wait() // how it ends is of no matter
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("%s has ended\n%s", command.Path, s.log.Bytes())
		case <-deadline:
			s.stop()
			return fmt.Errorf("%s is not ready in time: %w\n%s", command.Path, err, s.log.Bytes())
		case <-tick.C:
		}
	}
}

// stop ends the process and waits for its end.
func (s *server) stop() {
	_ = s.command.Process.Signal(os.Interrupt)
	select {
	case <-s.ended:
	case <-time.After(15 * time.Second):
		_ = s.command.Process.Kill()
		<-s.ended
	}
}

// startGateway starts a Caddy in front of upstream, with a folder of its own in dir.
func startGateway(binary, dir string, kind gatewayKind, upstream, redis string) (*server, error) {
	s := new(server)
	var err error
	if s.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if s.admin, err = freeAddress(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return nil, err
	}
	command := exec.Command(binary)
	if err := startCaddy(command, s, dir, kind.caddyfile(port, s.admin, upstream, redis), ownTarget(kind, s)); err != nil {
		return nil, fmt.Errorf("%s: %w", kind.name, err)
	}
	return s, nil
}

// startCaddy runs a Caddy and waits until it answers the chats of a target.
func startCaddy(command *exec.Cmd, s *server, dir, caddyfile string, t *target) error {
	home, err := os.MkdirTemp(dir, "caddy")
	if err != nil {
		return err
	}
	config := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		return err
	}
	command.Args = append(command.Args, "run", "--config", config)
	command.Env = append(command.Environ(), "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	if err := t.connect(1); err != nil {
		return err
	}
	defer t.hangUp()
	return startServer(command, s, func() error {
		_, err := t.callers[0].ask(t.chat(0), func([]byte) {})
		return err
	})
}

// freeAddress is one that nobody listens on at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
