package caddyfile_test

import (
	"strings"
	"testing"
)

func TestRedisMistakes(t *testing.T) {
	const aPassword = "a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too)"
	store := func(rest string) string { return "{\n\tpinegate {\n\t\tstore redis " + rest + "\n\t}\n}\n" }
	in := func(lines string) string { return store("redis://r:6379 {\n" + lines + "\n}") }
	for name, c := range map[string]struct{ input, want string }{
		"no URL":           {store(""), `"redis" lacks its arguments: expected redis://host:port, rediss://host:port or unix:///path, or a placeholder for all of it, at Caddyfile:3`},
		"no scheme":        {store("r:6379"), `redis: redis URL 1 of 1: unknown scheme "r": expected redis, rediss or unix, at Caddyfile:3`},
		"another scheme":   {store("http://r:6379"), `redis: redis URL 1 of 1: unknown scheme "http": expected redis, rediss or unix, at Caddyfile:3`},
		"parameter":        {store("redis://r:6379?protocol=3"), `redis: redis URL 1 of 1: unknown parameter "protocol": expected db, or none, at Caddyfile:3`},
		"URL twice":        {store("redis://r:6379 redis://r:6379"), `redis: "redis://r:6379" stands here already, at Caddyfile:3`},
		"password in URL":  {store("redis://u:hunter2@r:6379"), `redis: a password in a URL would stand in the config, which is stored and shown: write it as password {env.NAME}, or the whole URL as {env.NAME}, at Caddyfile:3`},
		"part of a URL":    {store("redis://u:{env.P}@r:6379"), `redis: a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it, at Caddyfile:3`},
		"clear password":   {in("password hunter2"), `password: ` + aPassword + `, at Caddyfile:4`},
		"hashed password":  {in("password sha256:" + strings.Repeat("0", 64)), `password: ` + aPassword + `, at Caddyfile:4`},
		"sentinel's":       {in("sentinel m\nsentinel_password hunter2"), `sentinel_password: ` + aPassword + `, at Caddyfile:5`},
		"no password":      {in("password"), `"password" lacks its argument: expected {env.NAME} or {file./path}, at Caddyfile:4`},
		"no sentinel":      {in("sentinel_username u"), `store redis: a user of sentinels without sentinel <master>, at Caddyfile:3`},
		"outage":           {in("outage open"), `outage: unknown word "open": expected allow, deny or local, at Caddyfile:4`},
		"an old outage":    {in("outage shadow"), `outage: shadow is called local now: write outage local, at Caddyfile:4`},
		"no replicas":      {in("replicas 0"), `replicas: "0" is no positive whole number: expected a positive number, at Caddyfile:4`},
		"many replicas":    {in("replicas 9G"), `replicas: 9G is too large: expected a positive number, at Caddyfile:4`},
		"slices":           {in("slices none"), `slices is gone: every request is decided in Redis; remove the line, at Caddyfile:4`},
		"timeout":          {in("timeout soon"), `timeout: "soon" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:4`},
		"half a key":       {in("tls {\ncert a.pem\n}"), `store redis: tls: expected both cert and key, or neither, at Caddyfile:3`},
		"insecure":         {in("tls {\ninsecure\n}"), `unknown word "insecure": expected one of ca, cert, key, server_name, at Caddyfile:5`},
		"a word of file's": {in("sync always"), `unknown word "sync": expected one of journal, outage, password, prefix, replicas, retention, sentinel, sentinel_password, sentinel_username, timeout, tls, username, at Caddyfile:4`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mistake(t, c.input); got != c.want {
				t.Errorf("%s\ngives\n%s\nwant\n%s", c.input, got, c.want)
			}
		})
	}
}
