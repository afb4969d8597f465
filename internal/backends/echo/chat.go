package echo

import (
	"errors"
	"iter"
	"slices"
)

// chat answers chat completions.
func (c *call) chat() (reply, error) {
	if len(c.req.Messages) == 0 {
		return reply{}, errors.New("'messages' must not be empty")
	}
	n, err := c.choices(1)
	if err != nil {
		return reply{}, err
	}
	text, cut := c.cut(lastUser(c.req.Messages))
	frame := c.frame("chatcmpl-", "chat.completion")
	return c.completion(frame, countMessages(c.req.Messages), slices.Repeat([]choice{{text, finishReason(cut)}}, n), form{
		chunks: "chat.completion.chunk",
		whole:  func(text string) object { return object{"message": assistant(text)} },
		begin:  object{"delta": assistant("")},
		delta:  func(text string) object { return object{"delta": object{"content": text}} },
		end:    object{"delta": object{}},
	}), nil
}

// completions answers the older completions, with each prompt itself.
func (c *call) completions() (reply, error) {
	if len(c.req.Prompt) == 0 {
		c.req.Prompt = inputs{""} // like the API, which has a default
	}
	n, err := c.choices(len(c.req.Prompt))
	if err != nil {
		return reply{}, err
	}
	var choices []choice
	for _, prompt := range c.req.Prompt {
		text, cut := c.cut(prompt)
		choices = append(choices, slices.Repeat([]choice{{text, finishReason(cut)}}, n)...)
	}
	text := func(text string) object { return object{"text": text} }
	frame := c.frame("cmpl-", "text_completion")
	return c.completion(frame, count(c.req.Prompt...), choices, form{
		chunks: "text_completion", whole: text, delta: text, end: text(""),
	}), nil
}

type choice struct{ text, finishReason string }

// form is how a kind of completion writes its choices.
type form struct {
	chunks     string                   // object of the events of a stream
	whole      func(text string) object // a choice
	begin, end object                   // the first and last event of a choice; begin may be nil
	delta      func(word string) object // each other
}

func (c *call) completion(frame object, prompt int64, choices []choice, f form) reply {
	var output int64
	var list []object
	for i, choice := range choices {
		output += count(choice.text)
		list = append(list, member(i, f.whole(choice.text), choice.finishReason))
	}
	usage := object{
		"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
		"prompt_tokens_details":     object{"cached_tokens": 0, "audio_tokens": 0},
		"completion_tokens_details": object{"reasoning_tokens": 0, "audio_tokens": 0},
	}
	return reply{
		whole:  frame.with(object{"choices": list, "usage": usage}),
		events: c.chunks(frame.with(object{"object": f.chunks}), choices, f, usage),
	}
}

// chunks returns the events of a stream. If usage was requested, the last chunk has
// it, and all others have a null usage.
func (c *call) chunks(frame object, choices []choice, f form, usage object) iter.Seq[[]byte] {
	if c.req.StreamOptions.IncludeUsage {
		frame["usage"] = nil
	}
	return func(yield func([]byte) bool) {
		for i, choice := range choices {
			send := func(o object, finishReason any) bool {
				return yield(data(frame.with(object{"choices": []object{member(i, o, finishReason)}})))
			}
			if f.begin != nil && !send(f.begin, nil) {
				return
			}
			for word := range words(choice.text) {
				if !send(f.delta(word), nil) {
					return
				}
			}
			if !send(f.end, choice.finishReason) {
				return
			}
		}
		if c.req.StreamOptions.IncludeUsage && !yield(data(frame.with(object{"choices": []object{}, "usage": usage}))) {
			return
		}
		yield([]byte("data: [DONE]\n\n"))
	}
}

// member returns the choice with index i: o with what all choices have.
func member(i int, o object, finishReason any) object {
	return o.with(object{"index": i, "logprobs": nil, "finish_reason": finishReason})
}

func assistant(text string) object {
	return object{"role": "assistant", "content": text, "refusal": nil}
}

// frame returns the fields that all chunks of a response have in common.
func (c *call) frame(prefix, kind string) object {
	return object{"id": prefix + c.id, "object": kind, "created": c.created, "model": c.req.Model, "system_fingerprint": Model}
}

// finishReason returns why a response ended.
func finishReason(cut bool) string {
	if cut {
		return "length"
	}
	return "stop"
}
