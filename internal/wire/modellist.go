package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// ParseModels reads a backend's answer to GET /v1/models: that of OpenAI, which
// vLLM, Ollama and most others speak, that of Anthropic, or a bare array, as
// Together sends it. next is the id behind which the next page begins, "" where
// this is the last. Entries whose id is no name of a model are left out. The
// owner is not read: by custom it is the backend's own name that is given.
func ParseModels(body []byte) (models []Model, next string, err error) {
	var list struct {
		Data    *[]listedModel `json:"data"`
		HasMore bool           `json:"has_more"`
		LastID  string         `json:"last_id"`
	}
	body = bytes.TrimSpace(body)
	if len(body) > 0 && body[0] == '[' {
		err = json.Unmarshal(body, &list.Data)
	} else {
		err = json.Unmarshal(body, &list)
	}
	switch {
	case err != nil: // its text may quote the backend's
		return nil, "", fmt.Errorf("the list of models is no JSON of %d bytes that can be read", len(body))
	case list.Data == nil:
		return nil, "", errors.New("the list of models has no data")
	}
	for _, m := range *list.Data {
		if m.ID == "" || len(m.ID) > MaxModelBytes || HasControl(m.ID) || !utf8.ValidString(m.ID) {
			continue
		}
		models = append(models, Model{ID: m.ID, Created: m.created()})
	}
	if list.HasMore {
		next = list.LastID
	}
	return models, next, nil
}

// listedModel is an entry of a list. Its times may be anything.
type listedModel struct {
	ID        string          `json:"id"`
	Created   json.RawMessage `json:"created"`
	CreatedAt json.RawMessage `json:"created_at"`
}

// created is when the model was made, zero where that is not known.
func (m *listedModel) created() time.Time {
	var seconds float64
	if json.Unmarshal(m.Created, &seconds) == nil && seconds > 0 && seconds < 1<<40 {
		return time.Unix(int64(seconds), 0)
	}
	var at time.Time
	if json.Unmarshal(m.CreatedAt, &at) == nil && at.Unix() > 0 {
		return at
	}
	return time.Time{}
}
