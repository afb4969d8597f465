package memory

// Merge moves the pending samples into blocks, as Record does occasionally.
func (l *Ledger) Merge() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.merge()
}
