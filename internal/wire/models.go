package wire

import (
	"strconv"
	"time"
)

// Model is an entry of the list of models.
type Model struct {
	ID      string
	Created time.Time // zero: unknown, told as the epoch, as neither API has a word for it
	OwnedBy string    // OpenAI's dialect only; by custom the backend's name
}

// Models returns the body of GET /v1/models. Anthropic's dialect is for callers
// that sent anthropic-version: the path is the same for both.
func Models(d Dialect, models []Model) []byte {
	b := make([]byte, 0, 64+96*len(models))
	b = append(b, '{')
	if d == OpenAI {
		b = append(b, `"object":"list",`...)
	}
	b = append(b, `"data":[`...)
	for i, m := range models {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModel(b, d, m)
	}
	b = append(b, ']')
	if d == Anthropic {
		var first, last string
		if len(models) > 0 {
			first, last = models[0].ID, models[len(models)-1].ID
		}
		b = append(b, `,"has_more":false,"first_id":`...)
		b = appendStringOrNull(b, first)
		b = append(b, `,"last_id":`...)
		b = appendStringOrNull(b, last)
	}
	return append(b, "}\n"...)
}

// OneModel returns the body of GET /v1/models/{id}.
func OneModel(d Dialect, m Model) []byte {
	return append(appendModel(nil, d, m), '\n')
}

func appendModel(b []byte, d Dialect, m Model) []byte {
	created := m.Created.UTC()
	if m.Created.IsZero() {
		created = time.Unix(0, 0).UTC()
	}
	if d == Anthropic {
		b = append(b, `{"type":"model","id":`...)
		b = AppendString(b, m.ID)
		b = append(b, `,"display_name":`...)
		b = AppendString(b, m.ID)
		b = append(b, `,"created_at":"`...)
		b = created.AppendFormat(b, time.RFC3339)
		return append(b, `"}`...)
	}
	b = append(b, `{"id":`...)
	b = AppendString(b, m.ID)
	b = append(b, `,"object":"model","created":`...)
	b = strconv.AppendInt(b, created.Unix(), 10)
	b = append(b, `,"owned_by":`...)
	b = AppendString(b, m.OwnedBy)
	return append(b, '}')
}
