package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// ParseModels parses a backend's answer to GET /v1/models. It accepts OpenAI's
// format, which vLLM, Ollama and most others use, Anthropic's, and a bare array,
// which Together sends. next is the id after which the next page starts; "" on
// the last page. Entries whose id is not a valid model name are skipped. The
// owner is ignored: by convention OwnedBy is the backend's own name.
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
	case err != nil: // err may quote the backend's answer
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

// listedModel is an entry of a list. Its times may have any JSON type.
type listedModel struct {
	ID        string          `json:"id"`
	Created   json.RawMessage `json:"created"`
	CreatedAt json.RawMessage `json:"created_at"`
}

// created returns the creation time, or the zero time if it is unknown.
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
