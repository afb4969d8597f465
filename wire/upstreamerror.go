package wire

// UpstreamError normalises the error body of a backend.
func UpstreamError(d Dialect, status int, body []byte, secrets ...string) *Error {
	return Errorf(KindUpstream, "")
}
