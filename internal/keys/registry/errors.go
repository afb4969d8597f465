package registry

import "errors"

// What can be wrong with a question to the registry.
var (
	ErrNotFound = errors.New("there is none of this id")
	ErrExists   = errors.New("there is one of this id already")
	// ErrChanged tells that somebody else has made a change meanwhile.
	ErrChanged = errors.New("it has been changed since it was read")
	ErrRevoked = errors.New("the key is revoked, which can't be undone")
	// ErrUnavailable tells that the backing can't be reached, or that it fails.
	ErrUnavailable = errors.New("the store of keys is away")
)

// InvalidError says which field makes no sense. It never holds a secret.
type InvalidError struct{ Message string }

func (e *InvalidError) Error() string { return e.Message }

func invalid(message string) error { return &InvalidError{message} }
