package usage

// Merge does what Record does every now and then.
func (m *Memory) Merge() error {
	m.sums.mu.Lock()
	defer m.sums.mu.Unlock()
	return m.merge()
}
