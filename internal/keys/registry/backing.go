package registry

import "context"

// Backing is where keys and teams are kept. Its errors, but those of an update's
// own function, wrap [ErrUnavailable].
type Backing interface {
	// Changes returns what has changed since a place, or all there is where the
	// backing does not know the place: at the start, and after it has lost its
	// data. What changes meanwhile may be in the answer already, and is in the
	// next one, too.
	Changes(ctx context.Context, since Place) (Changes, error)

	// Update changes one entry atomically. The function is given the value that is
	// there, nil for none, and returns the new one, nil to delete it; it may be
	// called again where somebody else was faster. Its error is returned as it is,
	// and nothing is changed.
	Update(ctx context.Context, kind Kind, id string, change func(old []byte) ([]byte, error)) error

	// Close gives up what the backing holds open.
	Close() error
}

// Kind is what an entry describes.
type Kind string

// The kinds.
const (
	KindKey  Kind = "key"
	KindTeam Kind = "team"
)

// Place is a place in the history of a backing. The zero value is before its
// beginning.
type Place struct {
	Epoch   string // of a backing's data: another one begins where they were lost
	Version uint64 // counts the changes, from 1
}

// Changes is a part of a backing's history.
type Changes struct {
	Entries []Entry
	Whole   bool // Entries is all there is; else what has changed
	Place   Place
}

// Entry is a key or a team as it is kept.
type Entry struct {
	Kind  Kind
	ID    string
	Value []byte // JSON; nil: it was deleted
}
