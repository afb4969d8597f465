package wire

import "time"

// Model is an entry of the list of models.
type Model struct {
	ID      string
	Created time.Time // zero: unknown, sent as the epoch since neither API can express it
	OwnedBy string    // OpenAI's dialect only; by convention the backend's name
}

// created returns the creation time in UTC, or the epoch if it is unknown.
func (m *Model) created() time.Time {
	if m.Created.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return m.Created.UTC()
}

// Models returns the body of GET /v1/models in dialect d.
func Models(d *Dialect, models []Model) []byte {
	b := make([]byte, 0, 64+96*len(models))
	return append(d.appendModels(b, models), '\n')
}

// OneModel returns the body of GET /v1/models/{id} in dialect d.
func OneModel(d *Dialect, m Model) []byte {
	return append(d.appendModel(nil, &m), '\n')
}

// appendList appends models as a JSON array, each one formatted by model.
func appendList(b []byte, models []Model, model func([]byte, *Model) []byte) []byte {
	b = append(b, '[')
	for i := range models {
		if i > 0 {
			b = append(b, ',')
		}
		b = model(b, &models[i])
	}
	return append(b, ']')
}
