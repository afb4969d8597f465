package backends

import (
	"encoding/json"
	"errors"
)

// Responses: one output message, sent as typed events if it is streamed.

type responseAnswer struct {
	ID                 string              `json:"id"`
	Object             string              `json:"object"`
	CreatedAt          int64               `json:"created_at"`
	Status             string              `json:"status"`
	Background         bool                `json:"background"`
	Error              *struct{}           `json:"error"`
	IncompleteDetails  *incompleteDetails  `json:"incomplete_details"`
	Instructions       *content            `json:"instructions"`
	MaxOutputTokens    *int64              `json:"max_output_tokens"`
	Metadata           map[string]string   `json:"metadata"`
	Model              string              `json:"model"`
	Output             []responseItem      `json:"output"`
	ParallelToolCalls  bool                `json:"parallel_tool_calls"`
	PreviousResponseID *string             `json:"previous_response_id"`
	Store              bool                `json:"store"`
	Temperature        float64             `json:"temperature"`
	Text               map[string]textType `json:"text"`
	ToolChoice         string              `json:"tool_choice"`
	Tools              []struct{}          `json:"tools"`
	TopP               float64             `json:"top_p"`
	Truncation         string              `json:"truncation"`
	Usage              *responseUsage      `json:"usage"`
}

type incompleteDetails struct {
	Reason string `json:"reason"`
}

type textType struct {
	Type string `json:"type"`
}

type responseItem struct {
	ID      string         `json:"id"`
	Type    string         `json:"type"`
	Status  string         `json:"status"`
	Role    string         `json:"role"`
	Content []responsePart `json:"content"`
}

type responsePart struct {
	Type        string     `json:"type"`
	Text        string     `json:"text"`
	Annotations []struct{} `json:"annotations"`
	Logprobs    []struct{} `json:"logprobs"`
}

type responseUsage struct {
	InputTokens  int64 `json:"input_tokens"`
	InputDetails struct {
		CachedTokens int64 `json:"cached_tokens"`
	} `json:"input_tokens_details"`
	OutputTokens  int64 `json:"output_tokens"`
	OutputDetails struct {
		ReasoningTokens int64 `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	TotalTokens int64 `json:"total_tokens"`
}

// responseEvent is any event of a stream; each type uses some of the fields.
type responseEvent struct {
	Type           string          `json:"type"`
	SequenceNumber int64           `json:"sequence_number"`
	Response       *responseAnswer `json:"response,omitempty"`
	ItemID         string          `json:"item_id,omitempty"`
	OutputIndex    *int            `json:"output_index,omitempty"`
	ContentIndex   *int            `json:"content_index,omitempty"`
	Item           *responseItem   `json:"item,omitempty"`
	Part           *responsePart   `json:"part,omitempty"`
	Delta          *string         `json:"delta,omitempty"`
	Text           *string         `json:"text,omitempty"`
	Logprobs       json.RawMessage `json:"logprobs,omitempty"`
}

func newPart(text string) responsePart {
	return responsePart{Type: "output_text", Text: text, Annotations: []struct{}{}, Logprobs: []struct{}{}}
}

func (c *echoCall) responses() ([]byte, []stage, error) {
	messages, err := c.responsesInput()
	if err != nil {
		return nil, nil, err
	}
	text, cut := c.cut(lastUser(messages))
	usage := &responseUsage{
		InputTokens:  countTokens(c.req.Instructions) + countMessages(messages),
		OutputTokens: countTokens(text),
	}
	usage.TotalTokens = usage.InputTokens + usage.OutputTokens

	begun := responseAnswer{
		ID: "resp_" + c.id, Object: "response", CreatedAt: c.created, Status: "in_progress",
		MaxOutputTokens: c.req.MaxOutputTokens, Metadata: map[string]string{}, Model: c.req.Model,
		Output: []responseItem{}, ParallelToolCalls: true, Temperature: 1,
		Text: map[string]textType{"format": {"text"}}, ToolChoice: "auto", Tools: []struct{}{}, TopP: 1, Truncation: "disabled",
	}
	if c.req.Instructions != "" {
		begun.Instructions = &c.req.Instructions
	}
	ended := begun
	ended.Status, ended.Usage = "completed", usage
	if cut {
		ended.Status, ended.IncompleteDetails = "incomplete", &incompleteDetails{"max_output_tokens"}
	}
	item := responseItem{ID: "msg_" + c.id, Type: "message", Status: ended.Status, Role: "assistant", Content: []responsePart{newPart(text)}}
	ended.Output = []responseItem{item}
	if !c.req.Stream {
		return marshal(ended), nil, nil
	}
	return nil, responseStages(&begun, &ended, item, text), nil
}

// responseStages returns the events of a response with one message.
func responseStages(begun, ended *responseAnswer, item responseItem, text string) []stage {
	open := item
	open.Status, open.Content = "in_progress", []responsePart{}
	blank, whole := newPart(""), newPart(text)
	first := new(int)

	var sequence int64
	event := func(e responseEvent) []byte {
		e.SequenceNumber = sequence
		sequence++
		return named(e.Type, e)
	}
	one := func(e responseEvent) stage { return once(func() []byte { return event(e) }) }
	return []stage{
		one(responseEvent{Type: "response.created", Response: begun}),
		one(responseEvent{Type: "response.in_progress", Response: begun}),
		one(responseEvent{Type: "response.output_item.added", OutputIndex: first, Item: &open}),
		one(responseEvent{Type: "response.content_part.added", ItemID: item.ID, OutputIndex: first, ContentIndex: first, Part: &blank}),
		eachWord(text, func(word string) []byte {
			return event(responseEvent{
				Type: "response.output_text.delta", ItemID: item.ID, OutputIndex: first, ContentIndex: first,
				Delta: &word, Logprobs: json.RawMessage("[]"),
			})
		}),
		one(responseEvent{
			Type: "response.output_text.done", ItemID: item.ID, OutputIndex: first, ContentIndex: first,
			Text: &text, Logprobs: json.RawMessage("[]"),
		}),
		one(responseEvent{Type: "response.content_part.done", ItemID: item.ID, OutputIndex: first, ContentIndex: first, Part: &whole}),
		one(responseEvent{Type: "response.output_item.done", OutputIndex: first, Item: &item}),
		one(responseEvent{Type: "response." + ended.Status, Response: ended}),
	}
}

// responsesInput parses the input: a text, or items of which some are messages.
func (c *echoCall) responsesInput() ([]echoMessage, error) {
	var text string
	if json.Unmarshal(c.req.Input, &text) == nil {
		return []echoMessage{{Role: "user", Content: content(text)}}, nil
	}
	var items []echoMessage
	if json.Unmarshal(c.req.Input, &items) != nil {
		return nil, errors.New("'input' must be a text or a list of items")
	}
	return items, nil
}
