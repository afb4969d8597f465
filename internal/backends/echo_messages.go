package backends

import "errors"

// Messages, the Anthropic dialect.

type message struct {
	ID           string        `json:"id"`
	Type         string        `json:"type"`
	Role         string        `json:"role"`
	Model        string        `json:"model"`
	Content      []textBlock   `json:"content"`
	StopReason   *string       `json:"stop_reason"`
	StopSequence *string       `json:"stop_sequence"`
	Usage        messagesUsage `json:"usage"`
}

type textBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type messagesUsage struct {
	InputTokens   int64 `json:"input_tokens"`
	CacheCreation int64 `json:"cache_creation_input_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	OutputTokens  int64 `json:"output_tokens"`
}

// messageEvent is any event of a stream; each type uses some of the fields.
type messageEvent struct {
	Type         string         `json:"type"`
	Message      *message       `json:"message,omitempty"`
	Index        *int           `json:"index,omitempty"`
	ContentBlock *textBlock     `json:"content_block,omitempty"`
	Delta        any            `json:"delta,omitempty"`
	Usage        *messagesUsage `json:"usage,omitempty"`
}

type stopDelta struct {
	StopReason   *string `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
}

func (c *echoCall) messages() ([]byte, []stage, error) {
	input, err := c.messagesInput()
	if err != nil {
		return nil, nil, err
	}
	text, cut := c.cut(lastUser(c.req.Messages))
	stop := "end_turn"
	if cut {
		stop = "max_tokens"
	}
	usage := messagesUsage{InputTokens: input, OutputTokens: countTokens(text)}
	answer := message{
		ID: "msg_" + c.id, Type: "message", Role: "assistant", Model: c.req.Model,
		Content: []textBlock{{"text", text}}, StopReason: &stop, Usage: usage,
	}
	if !c.req.Stream {
		return marshal(answer), nil, nil
	}

	event := func(e messageEvent) []byte { return named(e.Type, e) }
	answer.Content, answer.StopReason, answer.Usage.OutputTokens = []textBlock{}, nil, 0 // as at the start of a stream
	first := new(int)
	return nil, []stage{
		once(func() []byte { return event(messageEvent{Type: "message_start", Message: &answer}) }),
		once(func() []byte {
			return event(messageEvent{Type: "content_block_start", Index: first, ContentBlock: &textBlock{Type: "text"}})
		}),
		once(func() []byte { return event(messageEvent{Type: "ping"}) }),
		eachWord(text, func(word string) []byte {
			return event(messageEvent{Type: "content_block_delta", Index: first, Delta: textBlock{"text_delta", word}})
		}),
		once(func() []byte { return event(messageEvent{Type: "content_block_stop", Index: first}) }),
		once(func() []byte {
			return event(messageEvent{Type: "message_delta", Delta: stopDelta{StopReason: &stop}, Usage: &usage})
		}),
		once(func() []byte { return event(messageEvent{Type: "message_stop"}) }),
	}, nil
}

func (c *echoCall) countTokens() ([]byte, []stage, error) {
	input, err := c.messagesInput()
	if err != nil {
		return nil, nil, err
	}
	return marshal(map[string]int64{"input_tokens": input}), nil, nil
}

func (c *echoCall) messagesInput() (int64, error) {
	if len(c.req.Messages) == 0 {
		return 0, errors.New("messages: at least one message is required")
	}
	return countTokens(c.req.System) + countMessages(c.req.Messages), nil
}
