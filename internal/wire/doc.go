// Package wire knows the dialects that clients and model servers speak: their
// routes, what a request asks for, how it is edited in place, what an answer
// cost and how an error looks. It reads strictly: what two parsers could read
// in two ways is refused, so that what the gate acted on is what the backend
// parses. It knows nothing of Caddy.
package wire
