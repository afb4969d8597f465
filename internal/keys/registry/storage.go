package registry

import "context"

// Storage stores keys and teams. Its errors wrap [ErrUnavailable], except for
// those of the function change passed to Update.
type Storage interface {
	// Changes returns the entries that have changed since a revision, or all
	// entries if the storage does not know the revision: at the start, and after
	// it has lost its data. Entries that change during the call may be included
	// already, and the next call returns them too.
	Changes(ctx context.Context, since Revision) (Changes, error)

	// Update changes one entry atomically. It calls change with the stored value
	// (nil if there is none), which returns the new one (nil to delete the entry),
	// and calls it again if the entry has changed meanwhile. If change returns an
	// error, Update returns it unwrapped and changes nothing.
	Update(ctx context.Context, kind Kind, id string, change func(old []byte) ([]byte, error)) error

	// Close releases the resources of the storage.
	Close() error
}

// Kind is the kind of an entry.
type Kind string

// The kinds.
const (
	KindKey  Kind = "key"
	KindTeam Kind = "team"
)

// Revision is a point in the history of a storage. The zero value precedes all
// changes.
type Revision struct {
	Epoch   string // of the data: a new one begins when the data was lost
	Version uint64 // counts the changes, from 1
}

// Changes is a part of the history of a storage, or all of its entries.
type Changes struct {
	Entries  []Entry
	Complete bool // Entries holds all entries, not only the changed ones
	Revision Revision
}

// Entry is a key or a team as it is stored.
type Entry struct {
	Kind  Kind
	ID    string
	Value []byte // JSON; nil if it was deleted
}
