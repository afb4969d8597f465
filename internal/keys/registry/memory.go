package registry

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
)

// Memory is a storage that does not outlive the process.
type Memory struct {
	mu      sync.Mutex
	epoch   string
	entries map[Kind]map[string][]byte
	log     []Entry // by version, without values
}

var memoryEpochs atomic.Int64

// NewMemory returns an empty storage.
func NewMemory() *Memory {
	return &Memory{
		epoch:   strconv.FormatInt(memoryEpochs.Add(1), 10),
		entries: map[Kind]map[string][]byte{KindKey: {}, KindTeam: {}},
	}
}

// Changes implements [Storage].
func (m *Memory) Changes(_ context.Context, since Revision) (Changes, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes := Changes{Revision: Revision{m.epoch, uint64(len(m.log))}}
	if since.Epoch == m.epoch {
		for _, e := range m.log[since.Version:] {
			e.Value = m.entries[e.Kind][e.ID]
			changes.Entries = append(changes.Entries, e)
		}
		return changes, nil
	}
	changes.Complete = true
	for kind, entries := range m.entries {
		for id, value := range entries {
			changes.Entries = append(changes.Entries, Entry{kind, id, value})
		}
	}
	return changes, nil
}

// Update implements [Storage].
func (m *Memory) Update(_ context.Context, kind Kind, id string, change func([]byte) ([]byte, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, err := change(m.entries[kind][id])
	if err != nil {
		return err
	}
	if value == nil {
		delete(m.entries[kind], id)
	} else {
		m.entries[kind][id] = value
	}
	m.log = append(m.log, Entry{Kind: kind, ID: id})
	return nil
}

// Close implements [Storage].
func (m *Memory) Close() error { return nil }
