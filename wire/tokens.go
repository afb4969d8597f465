package wire

// Tokens is what a request used, in the normal form of every dialect: Input is
// the whole input, of which CacheRead and CacheWrite are parts, and Reasoning
// is a part of Output.
type Tokens struct {
	Input, CacheRead, CacheWrite, Output, Reasoning int64
}
