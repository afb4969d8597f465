package registry

import "errors"

// Errors of a registry.
var (
	ErrNotFound = errors.New("there is none with this id")
	ErrExists   = errors.New("there is one with this id already")
	// ErrChanged is returned if the entry is not at the expected version.
	ErrChanged = errors.New("it has been changed since it was read")
	ErrRevoked = errors.New("the key is revoked, which can't be undone")
	// ErrUnavailable is returned if the storage is unreachable or fails.
	ErrUnavailable = errors.New("the key store is unavailable")
)

// InvalidError names an invalid field. It never contains a secret.
type InvalidError struct{ Message string }

func (e *InvalidError) Error() string { return e.Message }

func invalid(message string) error { return &InvalidError{message} }
