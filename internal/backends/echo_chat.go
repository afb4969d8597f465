package backends

import (
	"encoding/json"
	"errors"
)

// Chat completions and completions. A chunk of a stream has the format of a
// response, with other choices.

type chatAnswer struct {
	ID                string          `json:"id"`
	Object            string          `json:"object"`
	Created           int64           `json:"created"`
	Model             string          `json:"model"`
	SystemFingerprint string          `json:"system_fingerprint"`
	Choices           []chatChoice    `json:"choices"`
	Usage             json.RawMessage `json:"usage,omitempty"`
}

type chatChoice struct {
	Index        int          `json:"index"`
	Message      *chatMessage `json:"message,omitempty"`
	Delta        *chatMessage `json:"delta,omitempty"`
	Text         *string      `json:"text,omitempty"`
	Logprobs     *struct{}    `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

type chatMessage struct {
	Role    string          `json:"role,omitempty"`
	Content *string         `json:"content,omitempty"`
	Refusal json.RawMessage `json:"refusal,omitempty"`
}

var null = json.RawMessage("null")

type chatUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
	PromptDetails    struct {
		CachedTokens int64 `json:"cached_tokens"`
		AudioTokens  int64 `json:"audio_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		ReasoningTokens int64 `json:"reasoning_tokens"`
		AudioTokens     int64 `json:"audio_tokens"`
	} `json:"completion_tokens_details"`
}

func newChatUsage(prompt, completion int64) json.RawMessage {
	return marshal(chatUsage{PromptTokens: prompt, CompletionTokens: completion, TotalTokens: prompt + completion})
}

// finishReason returns why a response ended.
func finishReason(cut bool) *string {
	reason := "stop"
	if cut {
		reason = "length"
	}
	return &reason
}

func (c *echoCall) chat() ([]byte, []stage, error) {
	if len(c.req.Messages) == 0 {
		return nil, nil, errors.New("'messages' must not be empty")
	}
	n, err := c.choices(1)
	if err != nil {
		return nil, nil, err
	}
	text, cut := c.cut(lastUser(c.req.Messages))
	usage := newChatUsage(countMessages(c.req.Messages), int64(n)*countTokens(text))

	answer := c.frame("chatcmpl-", "chat.completion")
	if !c.req.Stream {
		for i := range n {
			answer.Choices = append(answer.Choices, chatChoice{
				Index: i, Message: &chatMessage{Role: "assistant", Content: &text, Refusal: null}, FinishReason: finishReason(cut),
			})
		}
		answer.Usage = usage
		return marshal(answer), nil, nil
	}
	answer.Object += ".chunk"
	var stages []stage
	for i := range n {
		chunk := func(choice chatChoice) []byte {
			choice.Index = i
			return c.chunk(answer, choice)
		}
		stages = append(stages,
			once(func() []byte {
				return chunk(chatChoice{Delta: &chatMessage{Role: "assistant", Content: new(string), Refusal: null}})
			}),
			eachWord(text, func(word string) []byte { return chunk(chatChoice{Delta: &chatMessage{Content: &word}}) }),
			once(func() []byte { return chunk(chatChoice{Delta: &chatMessage{}, FinishReason: finishReason(cut)}) }),
		)
	}
	return nil, append(stages, c.ending(answer, usage)...), nil
}

func (c *echoCall) completions() ([]byte, []stage, error) {
	if len(c.req.Prompt) == 0 {
		c.req.Prompt = inputs{""} // like the API, which has a default
	}
	n, err := c.choices(len(c.req.Prompt))
	if err != nil {
		return nil, nil, err
	}
	answer := c.frame("cmpl-", "text_completion")
	var stages []stage
	var completion int64
	for p, prompt := range c.req.Prompt {
		text, cut := c.cut(prompt)
		completion += int64(n) * countTokens(text)
		for i := p * n; i < (p+1)*n; i++ {
			if !c.req.Stream {
				answer.Choices = append(answer.Choices, chatChoice{Index: i, Text: &text, FinishReason: finishReason(cut)})
				continue
			}
			stages = append(stages,
				eachWord(text, func(word string) []byte { return c.chunk(answer, chatChoice{Index: i, Text: &word}) }),
				once(func() []byte {
					return c.chunk(answer, chatChoice{Index: i, Text: new(string), FinishReason: finishReason(cut)})
				}),
			)
		}
	}
	usage := newChatUsage(countTokens(c.req.Prompt...), completion)
	if !c.req.Stream {
		answer.Usage = usage
		return marshal(answer), nil, nil
	}
	return nil, append(stages, c.ending(answer, usage)...), nil
}

// frame returns the fields that all chunks of a response have in common.
func (c *echoCall) frame(prefix, object string) chatAnswer {
	return chatAnswer{ID: prefix + c.id, Object: object, Created: c.created, Model: c.req.Model, SystemFingerprint: echoModel}
}

// chunk returns an event of a stream. If usage was requested, all chunks but the
// last have a null usage.
func (c *echoCall) chunk(answer chatAnswer, choice chatChoice) []byte {
	answer.Choices = []chatChoice{choice}
	if c.req.StreamOptions.IncludeUsage {
		answer.Usage = null
	}
	return data(answer)
}

// ending returns the end of a stream: the usage if it was requested, and [DONE].
func (c *echoCall) ending(answer chatAnswer, usage json.RawMessage) []stage {
	done := once(func() []byte { return []byte("data: [DONE]\n\n") })
	if !c.req.StreamOptions.IncludeUsage {
		return []stage{done}
	}
	answer.Choices, answer.Usage = []chatChoice{}, usage
	return []stage{once(func() []byte { return data(answer) }), done}
}
