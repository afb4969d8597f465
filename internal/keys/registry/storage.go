package registry

import "context"

// Storage is where keys and teams are stored. Its errors wrap [ErrUnavailable],
// except for those of the function that Update is given.
type Storage interface {
	// Changes returns the entries that have changed since a revision, or all
	// entries if the storage does not know the revision: at the start, and after
	// it has lost its data. Entries that change meanwhile may be in the answer
	// already, and are in the next one too.
	Changes(ctx context.Context, since Revision) (Changes, error)

	// Update changes one entry atomically. It calls change with the stored value
	// (nil if there is none), which returns the new one (nil to delete the entry),
	// and calls it again if the entry has changed meanwhile. If change returns an
	// error, Update returns it unwrapped and changes nothing.
	Update(ctx context.Context, kind Kind, id string, change func(old []byte) ([]byte, error)) error

	// Close releases what the storage holds open.
	Close() error
}

// Kind is what an entry describes.
type Kind string

// The kinds.
const (
	KindKey  Kind = "key"
	KindTeam Kind = "team"
)

// Revision is a point in the history of a storage. The zero value is before its
// beginning.
type Revision struct {
	Epoch   string // of the data: a new one begins when they were lost
	Version uint64 // counts the changes, from 1
}

// Changes is a part of the history of a storage.
type Changes struct {
	Entries  []Entry
	Complete bool // Entries holds all entries, not only those that have changed
	Revision Revision
}

// Entry is a key or a team as it is stored.
type Entry struct {
	Kind  Kind
	ID    string
	Value []byte // JSON; nil if it was deleted
}
