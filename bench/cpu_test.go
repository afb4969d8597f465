//go:build linux && !race

package main

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// The gate with everything on must not take twice the CPU of bare reverse_proxy. Both
// are sites of one process, of which only the CPU time is looked at, and take turns.
//
// A round on a busy machine is off by half either way, the median of some by little,
// and what it would be off is far from the bound: `make bench` is for what is finer.
func TestTheGateTakesLittleMoreCPUThanTheBareProxy(t *testing.T) {
	const most = 2.0
	mock, err := newMock("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mock.Close()

	kinds := map[string]gatewayKind{}
	for _, kind := range gatewayKinds {
		kinds[kind.name] = kind
	}
	caddy := new(server)
	if caddy.admin, err = freeAddress(); err != nil {
		t.Fatal(err)
	}
	caddyfile := kinds["all-on"].global(caddy.admin, "")
	var targets []*target
	for _, name := range []string{bare, "all-on"} {
		if caddy.address, err = freeAddress(); err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(caddy.address)
		if err != nil {
			t.Fatal(err)
		}
		caddyfile += kinds[name].site(port, mock.Listener.Addr().String())
		targets = append(targets, ownTarget(kinds[name], caddy))
	}
	binary, err := gatetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary)
	if err := startCaddy(command, caddy, t.TempDir(), caddyfile, targets[1]); err != nil {
		t.Fatal(err)
	}
	defer caddy.stop()
	process, err := processOf(command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		target.process = &process
	}

	const callers = 16
	for _, work := range []struct {
		name string
		turn func(*target) (int, error)
	}{
		{"a request", func(t *target) (int, error) {
			waits, err := chats(t.callers, t, 100*time.Millisecond)
			return len(waits), err
		}},
		{"an event", func(t *target) (int, error) {
			const events = 100
			_, err := readStreams(t.callers, t, stream{events: events, every: 2 * time.Millisecond}, 0, func() error { return nil })
			return callers * events, err
		}},
	} {
		t.Run(work.name, func(t *testing.T) {
			cpu := func(on *target) float64 {
				before, err := process.cpu()
				if err != nil {
					t.Fatal(err)
				}
				n, err := work.turn(on)
				if err != nil {
					t.Fatalf("%s: %v", on.name, err)
				}
				after, err := process.cpu()
				if err != nil {
					t.Fatal(err)
				}
				return float64(after-before) / float64(n)
			}
			for _, target := range targets {
				if err := target.connect(callers); err != nil {
					t.Fatal(err)
				}
				defer target.hangUp()
				cpu(target) // to warm up
			}
			// Where the machine does something else for a while, some more rounds count.
			var ratios []float64
			for len(ratios) < 11 || median(ratios) > most && len(ratios) < 41 {
				bare := cpu(targets[0])
				ratios = append(ratios, cpu(targets[1])/bare)
			}
			if r := median(ratios); r > most {
				t.Errorf("the gate takes %.2f of the CPU of the bare proxy, in the median of %d rounds: %.2f", r, len(ratios), ratios)
			} else {
				t.Logf("%.2f of the CPU of the bare proxy, in the median of %d rounds: %.2f", r, len(ratios), ratios)
			}
		})
	}
}
