// Package registry holds the keys and teams that are created while the gate runs,
// unlike those of its configuration.
//
// A [Registry] has a snapshot of them in memory, over a [Storage]: a file, or a
// Redis that several gates share. It makes each change in the storage first,
// atomically, and then in the snapshot. It fetches the changes of others twice a
// second. Requests use the snapshot alone, and cost the storage nothing. How old
// the snapshot may become before no key of it is accepted is [Options.Stale].
//
// Of a secret the registry keeps the SHA-256 and the last four characters.
package registry
