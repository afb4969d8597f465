package request

import (
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestScanRefusesWhatNamesAnothersItems(t *testing.T) {
	const passes = ""
	for _, c := range []struct {
		name     string
		endpoint wire.Endpoint
		member   string
		param    string
	}{
		{"a reference", wire.Responses, `"input":[{"type":"item_reference","id":"msg_1"}]`, "input"},
		{"behind others", wire.Responses, `"input":[{"role":"user","content":"x"},"y",{"id":"msg_1","type":"item_reference"}]`, "input"},
		{"without a type", wire.Responses, `"input":[{"id":"msg_1"}]`, "input"},
		{"with null for a type", wire.Responses, `"input":[{"id":"msg_1","type":null}]`, "input"},
		{"with a type in another case", wire.Responses, `"input":[{"id":"msg_1","Type":"message"}]`, "input"},
		{"half a message", wire.Responses, `"input":[{"id":"msg_1","role":"user"}]`, "input"},
		{"escaped", wire.Responses, `"input":[{"\u0069d":"msg_1","typ\u0065":"item\u005freference"}]`, "input"},
		{"of two types", wire.Responses, `"input":[{"id":"m","type":"item_reference","type":"message","role":"user","content":"x"}]`, "input"},
		{"not in a list", wire.Responses, `"input":{"id":"msg_1"}`, "input"},
		{"a picture", wire.Responses, `"input":[{"type":"image_generation_call","id":"ig_1"}]`, "input"},
		{"a container", wire.Responses, `"tools":[{"type":"code_interpreter","container":"cntr_1"}]`, "tools"},
		{"a container, escaped", wire.Responses, `"tools":[{"type":"code_interpreter","\u0063ontainer":"cntr_1"}]`, "tools"},
		{"a shell's container", wire.Responses, `"tools":[{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_1"}}]`, "tools"},
		{"Anthropic's container", wire.Messages, `"container":"container_1"`, "container"},
		{"Anthropic's container with skills", wire.Messages, `"container":{"skills":[{"type":"anthropic"}],"id":"container_1"}`, "container"},
		{"the same, escaped", wire.Messages, `"container":{"i\u0064":"container_1"}`, "container"},
		{"a container in another case", wire.Messages, `"Container":"container_1"`, "container"},

		{"the container of a call", wire.Responses, `"input":[{"type":"code_interpreter_call","id":"ci_1","code":"1","container_id":"cntr_1","outputs":[]}]`, "input"},
		{"the container of a shell call", wire.Responses, `"input":[{"type":"shell_call","call_id":"c","environment":{"type":"container_reference","container_id":"cntr_1"},"action":{}}]`, "input"},
		{"the container of a citation", wire.Compact, `"input":[{"role":"assistant","content":[{"type":"output_text","text":"x","annotations":[{"type":"container_file_citation","container_id":"cntr_1","file_id":"f"}]}]}]`, "input"},
		{"a thread", wire.Messages, `"thread":{"type":"continue","previous_message_id":"msg_1"}`, "thread"},
		{"a thread by its id", wire.Chat, `"thread_id":"t_1"`, "thread_id"},
		{"a thread in another case", wire.Messages, `"Thread":{}`, "thread"},
		{"an earlier message", wire.Messages, `"previous_message_id":"msg_1"`, "previous_message_id"},
		{"an earlier message in a new member", wire.Messages, `"continuation":{"a":[{"Previous_Message_Id":"msg_1"}]}`, "previous_message_id"},
		{"another's profile", wire.Messages, `"user_profile_id":"uprof_1"`, "user_profile_id"},
		{"Gemini's cache", wire.Chat, `"extra_body":{"google":{"cached_content":"cachedContents/1"}}`, "cached_content"},
		{"vLLM's remote cache", wire.Completions, `"kv_transfer_params":{"do_remote_prefill":true,"remote_host":"10.0.0.1"}`, "kv_transfer_params"},
		{"a container in a new member", wire.Responses, `"tool_resources":{"code_interpreter":{"container_id":"cntr_1"}}`, "container_id"},

		{"a container in a tool's call", wire.Messages, `"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"docker","input":{"container_id":"abc"}}]}]`, passes},
		{"a container in a schema", wire.Chat, `"guided_json":{"properties":{"container_id":{"type":"string"},"thread_id":{"type":"string"}}}`, passes},
		{"a thread in metadata", wire.Chat, `"metadata":{"thread_id":"t_1","model":"x"},"extra_body":{"litellm_metadata":{"thread_id":"t_1"}}`, passes},
		{"a thread of null", wire.Messages, `"thread":null`, passes},
		{"a whole message", wire.Responses, `"input":[{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"x"}]}]`, passes},
		{"a message without its type", wire.Responses, `"input":[{"id":"msg_1","role":"user","content":"x"}]`, passes},
		{"reasoning", wire.Responses, `"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}]`, passes},
		{"a call", wire.Responses, `"input":[{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{\"id\":1}"}]`, passes},
		{"a picture with its data", wire.Responses, `"input":[{"type":"image_generation_call","id":"ig_1","result":"aGk="}]`, passes},
		{"text about references", wire.Responses, `"input":[{"role":"user","content":[{"type":"input_text","text":"{\"type\":\"item_reference\"}"}]}]`, passes},
		{"an id of null", wire.Responses, `"input":[{"id":null}]`, passes},
		{"a new container", wire.Responses, `"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file_1"]}}]`, passes},
		{"a function about containers", wire.Responses, `"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{"container":{"type":"string","default":"a"},"container_id":{"type":"string"}},"examples":[{"container":"a"}]}}]`, passes},
		{"a new one of Anthropic's", wire.Messages, `"container":{"id":null,"skills":[{"type":"anthropic","skill_id":"pptx"}]}`, passes},
		{"none of Anthropic's", wire.Messages, `"container":null`, passes},
		{"a chat's tool", wire.Chat, `"tools":[{"type":"function","container":"x"}]`, "tools"},
		{"a chat's container", wire.Chat, `"container":"x"`, "container"},
		{"a chat's messages", wire.Chat, `"messages":[{"id":"msg_1"}]`, passes},
	} {
		_, err := Scan(c.endpoint, []byte(`{"model":"m",`+c.member+`}`))
		switch {
		case c.param == passes && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case c.param != passes && (err == nil || err.Kind != wire.KindBadRequest || err.Param != c.param):
			t.Errorf("%s: %v, want a refusal of %s", c.name, err, c.param)
		}
	}
}
