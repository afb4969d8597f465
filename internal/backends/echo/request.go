package echo

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	tokenRunes = 4        // characters of a token; the last token of a text may have fewer
	maxOutput  = 16 << 10 // tokens of a response, unless the request sets a lower cap
	maxChoices = 128      // of a response
)

// request holds the fields that the server reads, for all of its endpoints.
type request struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	N             *int   `json:"n"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	MaxTokens           *int64 `json:"max_tokens"`
	MaxCompletionTokens *int64 `json:"max_completion_tokens"`
	MaxOutputTokens     *int64 `json:"max_output_tokens"`

	Messages     []message `json:"messages"`
	System       content   `json:"system"`
	Instructions content   `json:"instructions"`
	Prompt       inputs    `json:"prompt"`

	Input          json.RawMessage `json:"input"` // embeddings: inputs; responses: text or messages
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is the text of a message: a string, or a list of parts, of which the
// text parts count.
type content string

func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil { // null becomes the empty string
		*c = content(text)
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	for _, part := range parts {
		*c += content(part.Text)
	}
	return nil
}

// inputs is a list of texts. It is decoded from one text, from several, or from
// token numbers, which become their decimal text.
type inputs []string

func (in *inputs) UnmarshalJSON(b []byte) error {
	var text string
	var tokens []int64
	var list []inputs
	switch {
	case string(b) == "null":
	case json.Unmarshal(b, &text) == nil:
		*in = inputs{text}
	case json.Unmarshal(b, &tokens) == nil && len(tokens) > 0:
		*in = inputs{strings.Trim(fmt.Sprint(tokens), "[]")}
	default:
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		for _, nested := range list {
			*in = append(*in, strings.Join(nested, ""))
		}
	}
	return nil
}

// lastUser returns the text of the last user message, or "" if there is none.
func lastUser(messages []message) string {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == "user" {
			return string(messages[i].Content)
		}
	}
	return ""
}

// count returns how many tokens texts have.
func count[T ~string](texts ...T) int64 {
	var n int64
	for _, text := range texts {
		n += int64(utf8.RuneCountInString(string(text))+tokenRunes-1) / tokenRunes
	}
	return n
}

func countMessages(messages []message) int64 {
	var n int64
	for _, m := range messages {
		n += count(m.Content)
	}
	return n
}

// cut truncates text to the lowest of the caps and reports whether it did.
func (c *call) cut(text string) (string, bool) {
	limit := int64(maxOutput)
	for _, cap := range []*int64{c.req.MaxTokens, c.req.MaxCompletionTokens, c.req.MaxOutputTokens} {
		if cap != nil && *cap >= 0 {
			limit = min(limit, *cap)
		}
	}
	runes := limit * tokenRunes
	for i := range text {
		if runes == 0 {
			return text[:i], true
		}
		runes--
	}
	return text, false
}

// choices returns how many choices to return for each of a number of prompts.
func (c *call) choices(prompts int) (int, error) {
	n := 1
	if c.req.N != nil {
		n = *c.req.N
	}
	if n < 1 || n > maxChoices || n*prompts > maxChoices {
		return 0, fmt.Errorf("echo gives between 1 and %d answers", maxChoices)
	}
	return n, nil
}
