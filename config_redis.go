package pinegate

import "github.com/caddyserver/caddy/v2"

// RedisConfig says where the limits and the usage are that several gates share,
// and what holds while that is away.
//
// Each gate writes its records to a journal in the directory of the store, and
// delivers from there in the background: see [replica.Ledger]. A quota that Redis
// does not know, at the first request of its window or after Redis has lost its
// data, begins with what the usage of all gates says.
//
// Credentials are placeholders, `{env.NAME}` or `{file./path}`. The user and
// password of Redis are read for each new connection, so that a file may change
// at any time; those of sentinels when the store is opened.
type RedisConfig struct {
	// Where Redis or Valkey is: `redis://host:port/database`, `rediss://` for TLS,
	// or `unix:///path`. Several are nodes of one Cluster, or the sentinels of
	// `sentinel`. A URL with a password in it is a placeholder as a whole.
	URLs []string `json:"urls"`

	// What limits do while Redis is away. `shadow`: each gate enforces its share
	// of every limit in memory, from the last state known, and charges Redis when
	// it is back. `deny`: every request is refused with 503. `allow`: every
	// request is let through. Default: `shadow`.
	Outage string `json:"outage,omitempty"`

	// Over how many gates `shadow` divides limits. Default: as many as were counted
	// in Redis before it was away; a gate that is started without Redis takes
	// itself for the only one. Zero means the default.
	Replicas int `json:"replicas,omitempty"`

	// How long one admission may wait for Redis before it counts as away; nobody
	// waits after that until Redis is back. Default: 50ms. Zero means the default.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// What the names of all keys in Redis begin with: gates with the same prefix
	// share their limits. Default: `pinegate`.
	Prefix string `json:"prefix,omitempty"`

	// The name of the master that the sentinels at the URLs watch. Default: no
	// sentinels.
	Sentinel string `json:"sentinel,omitempty"`

	// The user of Redis, who needs scripts and their commands on keys with the
	// prefix. Default: the default user.
	Username string `json:"username,omitempty"`

	// The user's password: a placeholder. Default: none.
	Password string `json:"password,omitempty"`

	// The user of the sentinels and its password, a placeholder. Default: none.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// TLS beyond what `rediss://` says; with it `redis://` is TLS, too. Certificates
	// are always verified. Default: TLS for `rediss://`, with the system's roots.
	TLS *RedisTLSConfig `json:"tls,omitempty"`
}

// RedisTLSConfig is how TLS to Redis is verified. Files are read when the store is
// opened.
type RedisTLSConfig struct {
	// PEM files of the authorities that are trusted. Default: the system's.
	CA []string `json:"ca,omitempty"`

	// PEM files of the gate's own certificate and key, where Redis asks for one.
	// Default: none.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`

	// The name that Redis's certificate is for. Default: the host of the URL.
	ServerName string `json:"server_name,omitempty"`
}
