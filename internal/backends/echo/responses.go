package echo

import (
	"encoding/json"
	"errors"
	"iter"
)

// responses answers with one output message.
func (c *call) responses() (reply, error) {
	messages, err := c.responsesInput()
	if err != nil {
		return reply{}, err
	}
	text, cut := c.cut(lastUser(messages))
	input, output := count(c.req.Instructions)+countMessages(messages), count(text)
	begun := object{
		"id": "resp_" + c.id, "object": "response", "created_at": c.created, "status": "in_progress", "background": false,
		"error": nil, "incomplete_details": nil, "instructions": nil, "max_output_tokens": c.req.MaxOutputTokens,
		"metadata": object{}, "model": c.req.Model, "output": []object{}, "parallel_tool_calls": true,
		"previous_response_id": nil, "store": false, "temperature": 1, "text": object{"format": object{"type": "text"}},
		"tool_choice": "auto", "tools": []object{}, "top_p": 1, "truncation": "disabled", "usage": nil,
	}
	if c.req.Instructions != "" {
		begun["instructions"] = c.req.Instructions
	}
	ended := begun.with(object{"status": "completed", "usage": object{
		"input_tokens": input, "input_tokens_details": object{"cached_tokens": 0},
		"output_tokens": output, "output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": input + output,
	}})
	if cut {
		ended["status"], ended["incomplete_details"] = "incomplete", object{"reason": "max_output_tokens"}
	}
	item := object{"id": "msg_" + c.id, "type": "message", "status": ended["status"], "role": "assistant", "content": []object{part(text)}}
	ended["output"] = []object{item}
	return reply{ended, responseEvents(begun, ended, item, text)}, nil
}

// responseEvents returns the events of a response with one message.
func responseEvents(begun, ended, item object, text string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		sequence := 0
		send := func(kind string, members ...object) bool {
			o := object{"type": "response." + kind, "sequence_number": sequence}
			for _, more := range members {
				o = o.with(more)
			}
			sequence++
			return yield(named(o))
		}
		inOutput := object{"output_index": 0}
		inItem := object{"output_index": 0, "item_id": item["id"], "content_index": 0}
		if !send("created", object{"response": begun}) || !send("in_progress", object{"response": begun}) ||
			!send("output_item.added", inOutput, object{"item": item.with(object{"status": "in_progress", "content": []object{}})}) ||
			!send("content_part.added", inItem, object{"part": part("")}) {
			return
		}
		for word := range words(text) {
			if !send("output_text.delta", inItem, object{"delta": word, "logprobs": []object{}}) {
				return
			}
		}
		_ = send("output_text.done", inItem, object{"text": text, "logprobs": []object{}}) &&
			send("content_part.done", inItem, object{"part": part(text)}) &&
			send("output_item.done", inOutput, object{"item": item}) &&
			send(ended["status"].(string), object{"response": ended})
	}
}

func part(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []object{}, "logprobs": []object{}}
}

// responsesInput parses the input: a text, or items of which some are messages.
func (c *call) responsesInput() ([]message, error) {
	var text content
	if json.Unmarshal(c.req.Input, (*string)(&text)) == nil {
		return []message{{Role: "user", Content: text}}, nil
	}
	var items []message
	if json.Unmarshal(c.req.Input, &items) != nil {
		return nil, errors.New("'input' must be a text or a list of items")
	}
	return items, nil
}
