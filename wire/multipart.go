package wire

// ScanMultipart reads a form.
func ScanMultipart(contentType string, body []byte) (*Request, *Error) {
	return nil, Errorf(KindInternal, "")
}
