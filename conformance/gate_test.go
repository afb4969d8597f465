// Package conformance holds the gate to what the official SDKs expect: they run,
// as they are, against the real binary on real sockets.
//
// It is a module of its own, so that nobody who builds the gate gets the SDKs'
// dependencies.
package conformance

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// The callers' secrets, by the ids that the Caddyfile below gives the keys.
const (
	keyFull      = "conformance-key-without-limits"
	keyScoped    = "conformance-key-for-echo-chats"
	keySlow      = "conformance-key-one-a-second-1"
	keySlow2     = "conformance-key-one-a-second-2"
	keyTiny      = "conformance-key-of-few-tokens"
	keyMetered   = "conformance-key-to-be-metered"
	keyAdmin     = "conformance-key-of-the-admin"
	keyUpstream  = "conformance-key-of-the-provider"
	keyOfNobody  = "conformance-key-of-nobody-at-all"
	unknownModel = "no-such-model"
)

const caddyfile = `{
	admin off
	persist_config off
	grace_period 2s
}

http://:{$GATE_PORT} {
	bind 127.0.0.1
	pinegate {
		admin_key {env.KEY_ADMIN}
		key full {env.KEY_FULL}
		key scoped {env.KEY_SCOPED} {
			models echo
			endpoints chat messages
		}
		key slow {env.KEY_SLOW} {
			limit 1 requests/second
		}
		key slow2 {env.KEY_SLOW2} {
			limit 1 requests/second
		}
		key tiny {env.KEY_TINY} {
			limit 50 tokens/minute
		}
		key metered {env.KEY_METERED}
		backend echo {
			api echo
			models echo
		}
		backend openai {$OPENAI_MOCK} {
			api_key {env.KEY_UPSTREAM}
			models gpt-*
		}
		backend anthropic {$ANTHROPIC_MOCK} {
			api anthropic
			api_key {env.KEY_UPSTREAM}
			models claude-*
		}
	}
}
`

// The gate under test, started once for all tests, and the model servers behind it.
var (
	gateURL         string
	openAIBackend   *backend
	anthropicServer *backend
)

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	openAIBackend, anthropicServer = newBackend(), newBackend()
	defer openAIBackend.server.Close()
	defer anthropicServer.server.Close()

	port := strconv.Itoa(gatetest.FreePort())
	gateURL = "http://127.0.0.1:" + port
	gate, err := gatetest.Launch(gatetest.Config{
		Dir: dir, Caddyfile: caddyfile, Ready: gateURL + "/readyz",
		Env: []string{
			"GATE_PORT=" + port,
			"OPENAI_MOCK=" + openAIBackend.address(), "ANTHROPIC_MOCK=" + anthropicServer.address(),
			"KEY_FULL=" + keyFull, "KEY_SCOPED=" + keyScoped, "KEY_SLOW=" + keySlow, "KEY_SLOW2=" + keySlow2,
			"KEY_TINY=" + keyTiny, "KEY_METERED=" + keyMetered, "KEY_ADMIN=" + keyAdmin, "KEY_UPSTREAM=" + keyUpstream,
		},
	})
	if err != nil {
		return 1, err
	}
	defer func() {
		if ended := gate.Stop(syscall.SIGINT); ended != nil {
			err = errors.Join(err, fmt.Errorf("the gate ended badly: %w\n%s", ended, gate.Logs.String()))
		}
	}()
	return gatetest.Main(m), nil
}
