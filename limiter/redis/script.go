package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/counter.lua
	counterLua string
	//go:embed lua/admit.lua
	admitLua string
	//go:embed lua/settle.lua
	settleLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/reap.lua
	reapLua string
	//go:embed lua/gates.lua
	gatesLua string
)

var (
	admitScript  = newScript(admitLua)
	settleScript = newScript(settleLua)
	renewScript  = newScript(renewLua)
	reapScript   = newScript(reapLua)
	gatesScript  = newScript(gatesLua)
)

// script is a Lua script, including the shared counter.lua. sha is the SHA-1 for EVALSHA.
type script struct{ source, sha string }

func newScript(source string) *script {
	source = dense(counterLua + source)
	sum := sha1.Sum([]byte(source))
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

// dense removes comments and indentation, which every gate would send after each restart of Redis.
func dense(source string) string {
	var out strings.Builder
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "--") {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// run runs the script in one round trip, or two if Redis does not have it (NOSCRIPT). Only that error is
// retried: after any other, the script may have had its effect.
func (s *script) run(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd {
	cmd := c.EvalSha(ctx, s.sha, keys, args...)
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		return c.Eval(ctx, s.source, keys, args...)
	}
	return cmd
}

// call is one run of a script among several.
type call struct {
	script *script
	keys   []string
	args   []any
	cmd    *redis.Cmd
}

// runAll runs scripts in one round trip, and runs again those that Redis did not have.
// Errors are those of each call's cmd.
func runAll(ctx context.Context, c redis.UniversalClient, calls []*call) {
	if len(calls) == 1 {
		calls[0].cmd = calls[0].script.run(ctx, c, calls[0].keys, calls[0].args...)
		return
	}
	pipe := c.Pipeline()
	for _, call := range calls {
		call.cmd = pipe.EvalSha(ctx, call.script.sha, call.keys, call.args...)
	}
	_, _ = pipe.Exec(ctx)
	for _, call := range calls {
		if redis.HasErrorPrefix(call.cmd.Err(), "NOSCRIPT") {
			call.cmd = call.script.run(ctx, c, call.keys, call.args...)
		}
	}
}
