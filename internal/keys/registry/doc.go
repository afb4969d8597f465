// Package registry holds the keys and teams that are created while the gate
// runs, unlike those of its configuration.
//
// A [Registry] is an in-memory snapshot over a [Storage]: a file, or a Redis
// that several gates share. It applies each change to the storage first,
// atomically, and then to the snapshot. It fetches the changes of other gates
// twice a second. Requests read the snapshot only and never access the storage.
// [Options.Stale] is the age at which keys of the snapshot are no longer
// accepted.
//
// The registry stores the SHA-256 of a secret and its last four characters.
package registry
