// Package keys holds the callers' keys of the gate: the format of the keys it
// makes, what a key may do, and the live set of keys, which follows the files
// that it comes from.
//
// The gate keeps hashes only. A secret is looked up by its SHA-256, so that
// neither a configuration, nor a dump of it, nor the time that a look-up takes
// tells a secret. SHA-256 without salt or stretching is right here and would be
// wrong for passwords: a key holds 256 random bits, or at least what somebody
// generated, and is looked up on each request.
package keys
