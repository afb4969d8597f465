package integration

import (
	"encoding/json"
	"testing"
)

// parsed is what a backend makes of a body.
type parsed struct {
	Model               string
	Stream              bool
	N                   int64
	MaxTokens           int64 `json:"max_tokens"`
	MaxCompletionTokens int64 `json:"max_completion_tokens"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

// parsers read a body as Go does, which ignores case and lets the last win, and
// as Python and JavaScript do, which know names as they stand.
var parsers = map[string]func(body string) (parsed, error){
	"Go": func(body string) (p parsed, err error) {
		err = json.Unmarshal([]byte(body), &p)
		return p, err
	},
	"Python": func(body string) (p parsed, err error) {
		var members map[string]any
		if err := json.Unmarshal([]byte(body), &members); err != nil {
			return p, err
		}
		p.Model, _ = members["model"].(string)
		p.Stream, _ = members["stream"].(bool)
		for name, to := range map[string]*int64{"n": &p.N, "max_tokens": &p.MaxTokens, "max_completion_tokens": &p.MaxCompletionTokens} {
			number, _ := members[name].(float64)
			*to = int64(number)
		}
		options, _ := members["stream_options"].(map[string]any)
		p.StreamOptions.IncludeUsage, _ = options["include_usage"].(bool)
		return p, nil
	},
}

// Whatever spelling of a body gets through, backends read of it what the gate
// has acted on: the model that the key may use, and caps within the gate's.
func TestBackendsParseWhatTheGateActedOn(t *testing.T) {
	v := attack(t, setup{gate: "max_output_tokens 50\nkey bob {env.OTHER_KEY} {\nmodels m-allowed\n}"})
	members := []string{
		`"model":"m-allowed"`, `"model":"m-other"`, `"Model":"m-other"`, `"MODEL":"m-allowed"`, `"\u006dodel":"m-allowed"`, `"\u006dodel":"m-other"`,
		`"mode\u006C":"m\u002dallowed"`, `"model ":"m-other"`, `"model\u0000":"m-other"`, `"modeł":"m-other"`, `"model":null`, `"a":{"model":"m-other"}`, `"tools":[{"model":"m-other","model":"x"}]`,
		`"max_tokens":1`, `"max_tokens":100000`, `"max_tokens":null`, `"max_completion_tokens":100000`, `"Max_Tokens":100000`, `"max_to\u212aens":100000`,
		`"max_completion_tokens":null`, `"stream":true`, `"stream":false`, `"stream":null`, `"\u017ftream":true`, `"stream_options":{"include_usage":false}`,
		`"stream_options":null`, `"stream_options":{}`, `"stream_options":{"include_usage":null,"x":1}`,
	}
	passed := 0
	for i, first := range members {
		for _, second := range members[i:] {
			for _, body := range []string{
				"{" + first + "," + second + "," + messages + "}",
				" {\n" + messages + " ,\t" + second + "\r, " + first + " } ",
				"{" + first + "," + messages + `,"model":"m-allowed"` + "}",
			} {
				before := len(v.backend.seen())
				a := v.ask("POST", "/v1/chat/completions", otherKey, body)
				if a.status != 200 {
					if a.status != 400 && a.status != 403 || len(v.backend.seen()) != before {
						t.Errorf("%s: %d, and the backend was sent %d", body, a.status, len(v.backend.seen())-before)
					}
					continue
				}
				passed++
				sent := v.backend.last(t).body
				for name, parse := range parsers {
					p, err := parse(sent)
					if err != nil || p.Model != "m-allowed" || max(p.MaxTokens, p.MaxCompletionTokens) > 50 || max(p.MaxTokens, p.MaxCompletionTokens) < 1 || p.Stream != p.StreamOptions.IncludeUsage && p.Stream {
						t.Errorf("%s was sent as %s, which %s reads as %+v (%v)", body, sent, name, p, err)
					}
				}
			}
		}
	}
	if passed < 50 {
		t.Errorf("only %d bodies passed", passed)
	}
}
