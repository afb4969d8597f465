package wire

// Body returns the JSON envelope of the error in dialect d.
func (e *Error) Body(d *Dialect, requestID string) []byte {
	return append(d.appendError(nil, e, d.errorType(e), requestID), '\n')
}

// Event returns the bytes that end a stream with the error, in the form that
// clients of ep expect. sequence is the event's sequence number.
func (e *Error) Event(ep Endpoint, sequence int64) []byte {
	d := ep.Dialect()
	return d.appendEvent(nil, e, d.errorType(e), ep, sequence)
}

func (e *Error) param() string {
	if e.Param != "" {
		return e.Param
	}
	return e.Kind.info().param
}

func (e *Error) code() string {
	if e.Code != "" {
		return e.Code
	}
	return e.Kind.info().code
}
