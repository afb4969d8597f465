package request

import (
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestScanReadsTheServiceTier(t *testing.T) {
	for _, c := range []struct {
		endpoint wire.Endpoint
		body     string
		want     wire.ServiceTier
		param    string // Param of the error
	}{
		{wire.Chat, `{"model":"m"}`, wire.TierUnsaid, ""},
		{wire.Chat, `{"model":"m","service_tier":null}`, wire.TierUnsaid, ""},
		{wire.Chat, `{"model":"m","service_tier":"auto"}`, wire.TierUnsaid, ""},
		{wire.Chat, `{"model":"m","service_tier":"default"}`, wire.TierStandard, ""},
		{wire.Responses, `{"model":"m","service_tier":"flex"}`, wire.TierFlex, ""},
		{wire.Chat, `{"model":"m","service_tier":"priority"}`, wire.TierPriority, ""},
		{wire.Chat, `{"model":"m","service_tier":"warp"}`, wire.TierOther, ""},
		{wire.Messages, `{"model":"m","service_tier":"standard_only"}`, wire.TierStandard, ""},
		{wire.Messages, `{"model":"m","speed":"fast","service_tier":"auto"}`, wire.TierOther, ""},
		{wire.Messages, `{"model":"m","speed":"standard"}`, wire.TierUnsaid, ""},
		{wire.Speech, `{"model":"m","speed":1.5}`, wire.TierUnsaid, ""},
		{wire.Chat, `{"model":"m","service_tier":7}`, 0, "service_tier"},
		{wire.Chat, `{"model":"m","service_tier":"flex","service_tier":"priority"}`, 0, "service_tier"},
		{wire.Chat, `{"model":"m","Service_Tier":"priority"}`, 0, "service_tier"},
		{wire.Messages, `{"model":"m","speed":true}`, 0, "speed"},
	} {
		r, err := Scan(c.endpoint, []byte(c.body))
		switch {
		case c.param != "":
			if err == nil || err.Param != c.param {
				t.Errorf("%s: %v, want a refusal of %s", c.body, err, c.param)
			}
		case err != nil || r.Tier != c.want:
			t.Errorf("%s: %+v, %v, want tier %d", c.body, r, err, c.want)
		}
	}
}

func TestScanReadsWhatTheGateNeeds(t *testing.T) {
	plain := Request{Model: "m", Cap: -1, N: 1}
	for _, c := range []struct {
		name     string
		endpoint wire.Endpoint
		body     string
		want     func(r *Request)
	}{
		{"nothing but the model", wire.Chat, `{"model":"m"}`, func(*Request) {}},
		{"white space everywhere", wire.Chat, " \r\n{\t\"model\" :\n\"m\" , \"stream\" : true } \n", func(r *Request) { r.Stream = true }},
		{"escaped name", wire.Chat, `{"\u006dodel":"m"}`, func(*Request) {}},
		{"escaped value", wire.Chat, `{"model":"\u006d\/\ud83d\ude00\""}`, func(r *Request) { r.Model = "m/😀\"" }},
		{"nulls are absence", wire.Chat, `{"model":"m","stream":null,"stream_options":null,"max_tokens":null,"max_completion_tokens":null,"n":null,"best_of":null,"background":null,"previous_response_id":null,"models":null,"fallbacks":null,"conversation":null,"messages":null}`, func(*Request) {}},
		{"no model where the API has a default", wire.Moderations, `{}`, func(r *Request) { r.Model = "" }},
		{"the largest cap", wire.Chat, `{"model":"m","max_tokens":1,"max_completion_tokens":100000,"max_output_tokens":7}`, func(r *Request) { r.Cap = 100000 }},
		{"the largest integer", wire.Chat, `{"model":"m","max_tokens":9007199254740992}`, func(r *Request) { r.Cap = 1 << 53 }},
		{"no cap, as LM Studio and llama.cpp write it", wire.Chat, `{"model":"m","max_tokens":-1}`, func(*Request) {}},
		{"no cap, as Ollama may write it", wire.Chat, `{"model":"m","max_tokens":-2}`, func(*Request) {}},
		{"no tokens, to fill a cache", wire.Messages, `{"model":"m","max_tokens":0}`, func(r *Request) { r.Cap = 0 }},
		{"no tokens, to echo the prompt", wire.Completions, `{"model":"m","max_tokens":0,"echo":true}`, func(r *Request) { r.Cap = 0 }},
		{"no tokens in a chat", wire.Chat, `{"model":"m","max_completion_tokens":0}`, func(r *Request) { r.Cap = 0 }},
		{"no tokens in a response", wire.Responses, `{"model":"m","max_output_tokens":0}`, func(r *Request) { r.Cap = 0 }},
		{"llama.cpp's cap beside the usual one", wire.Chat, `{"model":"m","max_tokens":10,"n_predict":150}`, func(r *Request) { r.Cap = 150 }},
		{"llama.cpp's cap below the usual one", wire.Completions, `{"model":"m","n_predict":15,"max_tokens":100}`, func(r *Request) { r.Cap = 100 }},
		{"llama.cpp's word for no cap", wire.Chat, `{"model":"m","max_tokens":10,"n_predict":-1}`, func(*Request) {}},
		{"no cap before a cap", wire.Chat, `{"model":"m","n_predict":-1,"max_tokens":10}`, func(*Request) {}},
		{"no cap and no tokens", wire.Chat, `{"model":"m","n_predict":0,"max_tokens":-1}`, func(*Request) {}},
		{"no tokens by a name that few servers read", wire.Chat, `{"model":"m","n_predict":0}`, func(*Request) {}},
		{"Ollama's options", wire.Chat, `{"model":"m","max_tokens":10,"options":{"num_ctx":9,"num_predict":77,"stop":["a"]}}`, func(r *Request) { r.Cap = 77 }},
		{"Ollama's options without a cap", wire.Chat, `{"model":"m","max_tokens":10,"options":{"num_predict":-1}}`, func(*Request) {}},
		{"options that are none", wire.Chat, `{"model":"m","options":7,"parameters":null,"extra_body":[{"n_predict":1}]}`, func(*Request) {}},
		{"settings of other servers", wire.Chat, `{"model":"m","max_new_tokens":1,"max_length":2,"max_gen_len":3,"max_tokens_to_sample":4,"parameters":{"max_new_tokens":5},"sampling_params":{"max_new_tokens":6,"n":2},"generation_config":{"candidate_count":7},"extra_body":{"n_predict":8}}`, func(r *Request) { r.Cap, r.N = 8, 7 }},
		{"llama.cpp's number of answers", wire.Chat, `{"model":"m","n_cmpl":3,"n":1}`, func(r *Request) { r.N = 3 }},
		{"llama.cpp's number of answers and prompts", wire.Completions, `{"model":"m","n_cmpl":3,"prompt":["a","b"]}`, func(r *Request) { r.N, r.PromptBytes, r.Messages = 6, 2, 2 }},
		{"num_return_sequences", wire.Completions, `{"model":"m","num_return_sequences":4}`, func(r *Request) { r.N = 4 }},
		{"prompts beside the text that are null", wire.Chat, `{"model":"m","prompt_embeds":null,"lora_path":null,"input_ids":null}`, func(*Request) {}},
		{"stream options", wire.Chat, `{"model":"m","stream":true,"stream_options":{"x":[{"include_usage":1}],"include_usage":true}}`, func(r *Request) { r.Stream, r.IncludeUsage = true, true }},
		{"no usage wanted", wire.Chat, `{"model":"m","stream_options":{"include_usage":false,"continuous_usage_stats":null}}`, func(*Request) {}},
		{"answers", wire.Chat, `{"model":"m","n":100}`, func(r *Request) { r.N = 100 }},
		{"best of", wire.Completions, `{"model":"m","n":2,"best_of":20,"prompt":"a"}`, func(r *Request) { r.N, r.PromptBytes, r.Messages = 20, 1, 1 }},
		{"prompts multiply", wire.Completions, `{"n":3,"prompt":["a","b"],"model":"m"}`, func(r *Request) { r.N, r.PromptBytes, r.Messages = 6, 2, 2 }},
		{"one prompt of tokens", wire.Completions, `{"prompt":[1,22222222,3],"model":"m"}`, func(r *Request) { r.PromptBytes, r.Messages = 12, 1 }},
		{"prompts of tokens", wire.Completions, `{"prompt":[[1,2],[3]],"model":"m"}`, func(r *Request) { r.N, r.PromptBytes, r.Messages = 2, 12, 2 }},
		{"empty prompt list", wire.Completions, `{"prompt":[],"model":"m"}`, func(*Request) {}},
		{"inputs of embeddings do not multiply", wire.Embeddings, `{"input":["a","b",[1,2]],"model":"m"}`, func(r *Request) { r.PromptBytes, r.Messages = 10, 3 }},
		{"the background of a picture", wire.ImageGenerations, `{"model":"m","background":"transparent"}`, func(*Request) {}},
		{"the background of an edit", wire.ImageEdits, `{"model":"m","background":"auto"}`, func(*Request) {}},
		{"thinking", wire.Messages, `{"model":"m","thinking":{"type":"enabled","budget_tokens":1024}}`, func(*Request) {}},
		{"thinking of other forms", wire.Messages, `{"model":"m","thinking":{"type":"adaptive","budget_tokens":null,"display":["x"]}}`, func(*Request) {}},
		{"background", wire.Responses, `{"model":"m","background":true,"previous_response_id":"resp_1"}`, func(r *Request) { r.Background, r.PreviousResponse = true, "resp_1" }},
		{"names of others in other places", wire.Chat, `{"model":"m","metadata":{"model":"x","model":"y","Stream":3},"tools":[{"n":-1,"n":-2}]}`, func(r *Request) { r.PromptBytes = 10 }},
		{"text of messages, whatever the nesting", wire.Chat, `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"héllo"}]},{"role":"x","content":null}]}`,
			func(r *Request) {
				r.PromptBytes = int64(len("roleusercontenttypetexttexthéllorolexcontentnull"))
				r.Messages, r.wideBytes = 2, 2
			}},
		{"system, instructions and tools", wire.Messages, `{"model":"m","system":"abc","instructions":"de","tools":[{"name":"f"}],"user":"unread"}`, func(r *Request) { r.PromptBytes, r.Messages = 10, 2 }},
		{"image_url", wire.Chat, `{"model":"m","messages":[{"content":[{"image_url":{"url":"data:image/png;base64,AAAAAAAA","detail":"low"}}]}]}`,
			func(r *Request) {
				r.PromptBytes, r.Messages, r.Images = int64(len("contentimage_urlurldetaillow")), 1, 1
			}},
		{"image_url by reference", wire.Responses, `{"model":"m","input":[{"image_url":"https://x/y"}]}`, func(r *Request) { r.PromptBytes, r.Messages, r.Images = 20, 1, 1 }},
		{"Anthropic's source", wire.Messages, `{"model":"m","messages":[{"source":{"data":"AAAA","type":"base64"}}]}`, func(r *Request) { r.PromptBytes, r.Messages, r.Images = 20, 1, 1 }},
		{"a source of plain text", wire.Messages, `{"model":"m","messages":[{"source":{"type":"text","data":"AAAA"}}]}`, func(r *Request) { r.PromptBytes, r.Messages = 22, 1 }},
		{"a source that says both", wire.Messages, `{"model":"m","messages":[{"source":{"type":"base64","data":"AAAA","type":"text"}}]}`, func(r *Request) { r.PromptBytes, r.Messages = 32, 1 }},
		{"a source with two data", wire.Messages, `{"model":"m","messages":[{"source":{"type":"base64","data":"AAAA","data":"BBBB"}}]}`, func(r *Request) { r.PromptBytes, r.Messages, r.Images = 28, 1, 1 }},
		{"sound", wire.Chat, `{"model":"m","messages":[{"input_audio":{"data":"AAAA","format":"wav"}}]}`, func(r *Request) { r.PromptBytes, r.Messages, r.Images = 24, 1, 1 }},
		{"file", wire.Chat, `{"model":"m","messages":[{"file":{"file_data":"data:application/pdf;base64,AA"}}]}`, func(r *Request) { r.PromptBytes, r.Messages, r.Images = 13, 1, 1 }},
		{"file of text", wire.Chat, `{"model":"m","messages":[{"file":{"file_data":"data:text/plain,AA"}}]}`, func(r *Request) { r.PromptBytes, r.Messages = 31, 1 }},
		{"data and url elsewhere are text", wire.Chat, `{"model":"m","messages":[{"content":"data:image/png;base64,A","url":"data:a","data":"b"}]}`,
			func(r *Request) {
				r.PromptBytes, r.Messages = int64(len("contentdata:image/png;base64,Aurldata:adatab")), 1
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Scan(c.endpoint, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			want := plain
			c.want(&want)
			got.spans = spans{}
			if *got != want {
				t.Errorf("\n got %+v\nwant %+v", *got, want)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 10_000) + `1` + strings.Repeat(`}`, 10_000)
	for _, c := range []struct{ name, body, param string }{
		{"duplicate model", `{"model":"canary","model":"canary"}`, "model"},
		{"duplicate model, escaped", `{"model":"canary","\u006dodel":"x"}`, "model"},
		{"duplicate stream", `{"model":"m","stream":true,"stream":true}`, "stream"},
		{"duplicate stream_options", `{"model":"m","stream_options":{},"stream_options":{}}`, "stream_options"},
		{"duplicate include_usage", `{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}`, "stream_options.include_usage"},
		{"duplicate continuous_usage_stats", `{"model":"m","stream_options":{"continuous_usage_stats":true,"continuous_usage_stats":null}}`, "stream_options.continuous_usage_stats"},
		{"duplicate max_tokens", `{"model":"m","max_tokens":1,"max_tokens":1}`, "max_tokens"},
		{"duplicate null", `{"model":"m","n":null,"n":1}`, "n"},
		{"duplicate messages", `{"model":"m","messages":[],"messages":[]}`, "messages"},
		{"duplicate prompt", `{"model":"m","prompt":"","prompt":""}`, "prompt"},
		{"duplicate input", `{"model":"m","input":"","input":""}`, "input"},
		{"folded alone", `{"Model":"m"}`, "model"},
		{"folded beside", `{"model":"m","MODEL":"x"}`, "model"},
		{"long s", `{"model":"m","` + "\u017F" + `tream":true}`, "stream"},
		{"long s, escaped", `{"model":"m","\u017Ftream":true}`, "stream"},
		{"Kelvin sign", `{"model":"m","max_to` + "\u212A" + `ens":1}`, "max_tokens"},
		{"dotless i", `{"model":"m","` + "\u0131" + `nput":1}`, "input"},
		{"folded stream option", `{"model":"m","stream_options":{"Include_Usage":true}}`, "stream_options.include_usage"},
		{"escaped capital", `{"model":"m","\u004Eode":1,"\u004E":1}`, "n"},

		{"empty", ``, ""}, {"white space", " \n", ""}, {"null", `null`, ""}, {"array", `[]`, ""}, {"string", `"model"`, ""}, {"number", `1`, ""},
		{"byte order mark", "\xEF\xBB\xBF{\"model\":\"m\"}", ""},
		{"UTF-16", "\xFF\xFE{\x00}\x00", ""},
		{"UTF-16 without a mark", "{\x00\"\x00m\x00", ""},
		{"invalid UTF-8", "{\"model\":\"m\",\"x\":\"\xff\"}", ""},
		{"invalid UTF-8 in a name", "{\"model\":\"m\",\"\xff\":1}", ""},
		{"overlong UTF-8", "{\"model\":\"m\",\"x\":\"\xc0\xaf\"}", ""},
		{"surrogate in UTF-8", "{\"model\":\"m\",\"x\":\"\xed\xa0\x80\"}", ""},
		{"lone surrogate", `{"model":"m","x":"\ud800"}`, ""},
		{"lone surrogate in the model", `{"model":"\udc00"}`, ""},
		{"lone surrogate in a name", `{"model":"m","\ud800":1}`, ""},
		{"trailing brace", `{"model":"m"}}`, ""}, {"second value", `{"model":"m"} {}`, ""}, {"trailing NUL", "{\"model\":\"m\"}\x00", ""},
		{"NUL between", "{\"model\":\x00\"m\"}", ""}, {"NUL within", "{\"model\":\"m\x00\"}", ""},
		{"line break within", "{\"model\":\"m\",\"x\":\"a\nb\"}", ""},
		{"truncated", `{"model":"m","messages":[{"role":`, ""}, {"no closing brace", `{"model":"m"`, ""},
		{"trailing comma", `{"model":"m",}`, ""}, {"comment", `{"model":"m"/**/}`, ""}, {"single quotes", `{'model':'m'}`, ""}, {"NaN", `{"model":"m","x":NaN}`, ""},
		{"too deep", `{"model":"m","x":` + deep + `}`, ""},
		{"too deep in a prompt", `{"model":"m","messages":` + deep + `}`, ""},
		{"too deep in brackets", strings.Repeat("[", 10_001), ""},

		{"no model", `{"messages":[]}`, "model"}, {"null model", `{"model":null}`, "model"}, {"empty model", `{"model":""}`, "model"},
		{"model number", `{"model":3}`, "model"}, {"model array", `{"model":["canary"]}`, "model"}, {"model object", `{"model":{"canary":1}}`, "model"},
		{"long model", `{"model":"` + strings.Repeat("a", 257) + `"}`, "model"}, {"very long model", `{"model":"` + strings.Repeat("a", 2000) + `"}`, "model"},
		{"line break in the model", `{"model":"a\ncanary"}`, "model"}, {"escape in the model", `{"model":"\u001b[31mcanary"}`, "model"},
		{"NUL in the model", `{"model":"a\u0000"}`, "model"}, {"line separator in the model", `{"model":"a\u2028"}`, "model"}, {"C1 control in the model", `{"model":"a\u0085"}`, "model"},

		{"other models", `{"model":"m","models":["canary"]}`, "models"}, {"fallbacks", `{"model":"m","fallbacks":[{"model":"canary"}]}`, "fallbacks"},
		{"a conversation that a backend keeps", `{"model":"m","conversation":{"id":"conv_1"}}`, "conversation"},
		{"other models before the model", `{"models":["canary"],"model":"m"}`, "models"}, {"other models in another case", `{"model":"m","Models":["canary"]}`, "models"},

		{"vLLM's prompt beside the text", `{"model":"m","prompt_embeds":"canary"}`, "prompt_embeds"},
		{"a prompt of tokens beside the text", `{"model":"m","prompt_token_ids":[1,2]}`, "prompt_token_ids"},
		{"SGLang's prompt of tokens", `{"model":"m","input_ids":[1,2]}`, "input_ids"}, {"SGLang's embeddings", `{"model":"m","input_embeds":[[1]]}`, "input_embeds"},
		{"another adapter", `{"model":"m","lora_path":"canary"}`, "lora_path"}, {"another adapter in the options", `{"model":"m","parameters":{"adapter_id":"canary"}}`, "adapter_id"},
		{"too many caps", `{"model":"m","max_tokens":1,"max_completion_tokens":1,"max_output_tokens":1,"n_predict":1,"num_predict":1,"max_new_tokens":1,"max_length":1,"max_gen_len":1,"options":{"num_predict":1,"n_predict":1,"max_tokens":1,"max_length":1,"max_new_tokens":1}}`, "max_new_tokens"},
		{"a cap in the options twice", `{"model":"m","options":{"num_predict":1,"num_predict":2}}`, "num_predict"}, {"a cap in the options in another case", `{"model":"m","options":{"Num_Predict":1}}`, "num_predict"},
		{"a cap in the options as a string", `{"model":"m","options":{"num_predict":"1"}}`, "num_predict"},
		{"llama.cpp's number of answers of zero", `{"model":"m","n_cmpl":0}`, "n_cmpl"},
		{"stream string", `{"model":"m","stream":"true"}`, "stream"}, {"stream number", `{"model":"m","stream":1}`, "stream"}, {"stream object", `{"model":"m","stream":{}}`, "stream"},
		{"thinking twice", `{"model":"m","thinking":{"budget_tokens":1,"budget_tokens":2}}`, "thinking.budget_tokens"},
		{"stream_options list", `{"model":"m","stream_options":[]}`, "stream_options"}, {"stream_options true", `{"model":"m","stream_options":true}`, "stream_options"},
		{"include_usage string", `{"model":"m","stream_options":{"include_usage":"true"}}`, "stream_options.include_usage"},
		{"previous_response_id number", `{"model":"m","previous_response_id":1}`, "previous_response_id"}, {"previous_response_id empty", `{"model":"m","previous_response_id":""}`, "previous_response_id"},
		{"answers of zero", `{"model":"m","n":0}`, "n"}, {"negative answers", `{"model":"m","n":-5}`, "n"}, {"too many answers", `{"model":"m","n":10001}`, "n"},
		{"negative best_of", `{"model":"m","best_of":-1}`, "best_of"}, {"answers as a string", `{"model":"m","n":"1"}`, "n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, wire.Chat, c.body, c.param)
		})
	}
	for _, name := range []string{"max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "max_new_tokens", "num_predict"} {
		for _, value := range []string{"-0", "-1.5", "-9007199254740993", "1e400", "1.5", "1.0", "1e3", `"9"`, "9223372036854775808", "9007199254740993", "99999999999999999999999999", "true", "[]", "{}"} {
			t.Run(name+" "+value, func(t *testing.T) {
				refuses(t, wire.Chat, `{"model":"m","`+name+`":`+value+`}`, name)
			})
		}
	}
}

// refuses checks that Scan refuses body, that the error names param and that it
// quotes nothing of the body.
func refuses(t *testing.T, e wire.Endpoint, body, param string) {
	t.Helper()
	r, err := Scan(e, []byte(body))
	if err == nil {
		t.Fatalf("taken: %+v", r)
	}
	if err.Kind != wire.KindBadRequest || err.StatusCode() != 400 || err.Param != param || err.Message == "" {
		t.Errorf("got %d %q, param %q, want param %q", err.StatusCode(), err.Message, err.Param, param)
	}
	if strings.Contains(err.Message, "canary") {
		t.Errorf("the message quotes the body: %q", err.Message)
	}
}

func TestScanTakesTheDeepestBodyThatItPromises(t *testing.T) {
	body := `{"model":"m","messages":` + strings.Repeat(`[`, 9_999) + strings.Repeat(`]`, 9_999) + `}`
	if _, err := Scan(wire.Chat, []byte(body)); err != nil {
		t.Error(err)
	}
}

func TestScanOfAHostileBodyCostsLittleMemory(t *testing.T) {
	for name, body := range map[string]string{
		"brackets":    strings.Repeat("[", 4<<20),
		"nested":      `{"model":"m","messages":` + strings.Repeat(`[{"a":`, 1<<19),
		"many names":  `{"model":"m"` + strings.Repeat(`,"a":1`, 1<<19) + `,"model":1}`,
		"long string": `{"model":"m","messages":"` + strings.Repeat(`\n`, 1<<21) + `"`,
		"long model":  `{"model":"` + strings.Repeat(`\u0061`, 1<<19) + `"}`,
		"long name":   `{"` + strings.Repeat(`\u0061`, 1<<19) + `":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			raw := []byte(body)
			refuses(t, wire.Chat, body, map[string]string{"many names": "model", "long model": "model", "long name": "model"}[name])
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _ = Scan(wire.Chat, raw)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
				t.Errorf("allocated %d bytes", used)
			}
		})
	}
}

func TestNamesFoldAsInUnicode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := fieldNames[rapid.IntRange(1, len(fieldNames)-1).Draw(t, "field")]
		var spelled []rune
		for _, c := range name {
			variants := []rune{c, c - 'a' + 'A'}
			switch c {
			case '_':
				variants = []rune{c, '-', ' '}
			case 's':
				variants = append(variants, '\u017F')
			case 'k':
				variants = append(variants, '\u212A')
			}
			spelled = append(spelled, rapid.SampledFrom(variants).Draw(t, "letter"))
		}
		folded, exact := foldName(string(spelled))
		if got := string(folded) == name; got != strings.EqualFold(string(spelled), name) {
			t.Fatalf("%q: folds to %q", string(spelled), folded)
		}
		if exact != (string(spelled) == strings.ToLower(string(folded)) && string(spelled) == string(folded)) {
			t.Fatalf("%q: exact %v", string(spelled), exact)
		}
		quoted := wire.AppendString(nil, string(spelled))
		for _, o := range []object{objectBody, objectStreamOptions} {
			f, isExact := lookUp(quoted, o, nil)
			slow, slowExact := lookUpSlowly(quoted, o, nil)
			if f != slow || f != fieldNone && isExact != slowExact {
				t.Fatalf("%q: %v %v, but slowly %v %v", string(spelled), f, isExact, slow, slowExact)
			}
		}
	})
}

func TestEveryFieldIsFoundByItsName(t *testing.T) {
	for i := fieldModel; int(i) < len(fieldNames); i++ {
		o := objectBody
		switch i {
		case fieldIncludeUsage, fieldContinuousUsageStats:
			o = objectStreamOptions
		case fieldBudgetTokens:
			o = objectThinking
		}
		if f, exact := lookUp(wire.AppendString(nil, fieldNames[i]), o, nil); f != i || !exact {
			t.Errorf("%s: got %v, %v", fieldNames[i], f, exact)
		}
	}
}

func TestMultiplySaturates(t *testing.T) {
	if got := multiply(1<<40, 1<<40); got != 1<<63-1 {
		t.Errorf("got %d", got)
	}
	if got := multiply(1<<30, 1<<30); got != 1<<60 {
		t.Errorf("got %d", got)
	}
}

func BenchmarkScan(b *testing.B) {
	body := chatBody(1500)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Scan(wire.Chat, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanLarge(b *testing.B) {
	body := chatBody(1 << 20)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Scan(wire.Chat, body); err != nil {
			b.Fatal(err)
		}
	}
}

// chatBody returns a chat request of about n bytes, as an SDK sends it.
func chatBody(n int) []byte {
	body := []byte(`{"model":"gpt-4o-mini","stream":false,"temperature":0.7,"max_tokens":256,"messages":[{"role":"system","content":"You are a helpful assistant."}`)
	for len(body) < n-2 {
		body = append(body, `,{"role":"user","content":"Summarise in one sentence what a token bucket does,\nand why it allows bursts. `...)
		body = append(body, `It is asked a few times so that the body has the length of an ordinary one."}`...)
	}
	return append(body, "]}"...)
}
