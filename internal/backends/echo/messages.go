package echo

import "errors"

// messages answers Anthropic's messages.
func (c *call) messages() (reply, error) {
	input, err := c.messagesInput()
	if err != nil {
		return reply{}, err
	}
	text, cut := c.cut(lastUser(c.req.Messages))
	stop := "end_turn"
	if cut {
		stop = "max_tokens"
	}
	usage := func(output int64) object {
		return object{
			"input_tokens": input, "output_tokens": output, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
		}
	}
	ended := object{"stop_reason": stop, "stop_sequence": nil}
	block := object{"type": "text", "text": text}
	whole := object{
		"id": "msg_" + c.id, "type": "message", "role": "assistant", "model": c.req.Model,
		"content": []object{block}, "usage": usage(count(text)),
	}.with(ended)
	begun := whole.with(object{"content": []object{}, "stop_reason": nil, "usage": usage(0)})

	return reply{whole, func(yield func([]byte) bool) {
		send := func(kind string, members object) bool { return yield(named(members.with(object{"type": kind}))) }
		if !send("message_start", object{"message": begun}) ||
			!send("content_block_start", object{"index": 0, "content_block": block.with(object{"text": ""})}) ||
			!send("ping", nil) {
			return
		}
		for word := range words(text) {
			if !send("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": word}}) {
				return
			}
		}
		_ = send("content_block_stop", object{"index": 0}) &&
			send("message_delta", object{"delta": ended, "usage": usage(count(text))}) &&
			send("message_stop", nil)
	}}, nil
}

// countTokens answers Anthropic's count_tokens.
func (c *call) countTokens() (reply, error) {
	input, err := c.messagesInput()
	return reply{whole: object{"input_tokens": input}}, err
}

func (c *call) messagesInput() (int64, error) {
	if len(c.req.Messages) == 0 {
		return 0, errors.New("messages: at least one message is required")
	}
	return count(c.req.System) + countMessages(c.req.Messages), nil
}
