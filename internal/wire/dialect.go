package wire

import "strings"

// Dialect is the family of an API: how its errors look, what it calls its
// fields and how its streams end. The zero value is OpenAI.
type Dialect uint8

// The dialects.
const (
	OpenAI Dialect = iota
	Anthropic
)

// String returns the name that `api` takes in a backend: "openai", "anthropic".
func (d Dialect) String() string {
	if d == Anthropic {
		return "anthropic"
	}
	return "openai"
}

// DialectOf tells in which dialect to answer a path, also one that the gate
// does not serve: a refusal must be readable to the client that made the
// request. The path decides, never the carrier of the credential: several
// clients send Anthropic's header to OpenAI's routes and the other way round.
func DialectOf(path string) Dialect {
	if rest, ok := strings.CutPrefix(path, "/v1/messages"); ok && (rest == "" || rest[0] == '/') {
		return Anthropic
	}
	return OpenAI
}
