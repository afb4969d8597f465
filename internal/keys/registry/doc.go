// Package registry holds the keys and teams that are made while the gate runs,
// as against those of its configuration.
//
// A [Registry] is a picture of them in memory, kept over a [Backing]: a file, or
// a Redis that several gates share. Each change is made in the backing first,
// atomically, and then taken into the picture; changes that others have made
// are fetched twice a second. Callers are judged by the picture alone, so that a
// request costs the backing nothing. How old it may be before it judges nobody
// any more is [Options.Stale].
//
// Of a secret the registry keeps the SHA-256 and the last four characters.
package registry
