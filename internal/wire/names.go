package wire

// Names maps the names that a dialect uses to the gate's own, which are those of
// OpenAI's and Anthropic's APIs. A name that is not in the map is the same in both.
type Names map[string]string

// Known returns the gate's own name for name, or nil if the dialect does not use name
// because it has another one for the same thing. It does not modify name.
func (n Names) Known(name []byte) []byte {
	if n == nil {
		return name
	}
	if known, ok := n[string(name)]; ok {
		return []byte(known)
	}
	for _, known := range n {
		if known == string(name) {
			return nil
		}
	}
	return name
}

// Spell returns the dialect's name for what the gate calls known.
func (n Names) Spell(known string) string {
	for name, meaning := range n {
		if meaning == known {
			return name
		}
	}
	return known
}
