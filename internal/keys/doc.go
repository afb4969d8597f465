// Package keys holds the callers' keys: the format of the keys that the gate
// generates, the permissions of a key, and the live set of keys, which follows its
// sources.
//
// The gate stores hashes only. It looks a secret up by its SHA-256, so that
// neither a configuration, nor a dump of it, nor the duration of a look-up reveals
// a secret. SHA-256 without salt or stretching is right here and would be wrong
// for passwords: a key holds 256 random bits, or at least was generated, and is
// looked up on each request.
package keys
