// Package wire implements the API dialects of clients and model servers: their
// endpoints, request bodies and in-place edits, token usage and errors. Parsing
// is strict: the gate refuses a request that two parsers could read
// differently, so that the backend parses what the gate acted on. The package
// does not depend on Caddy.
package wire
