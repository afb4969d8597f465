package wire

import (
	"slices"
	"strings"
	"testing"
)

func TestMatchFindsEachEndpointByItsCanonicalPath(t *testing.T) {
	for path, want := range map[string]Endpoint{
		"/v1/chat/completions": Chat, "/v1/completions": Completions, "/v1/responses": Responses,
		"/v1/embeddings": Embeddings, "/v1/messages": Messages, "/v1/messages/count_tokens": CountTokens,
		"/v1/images/generations": ImageGenerations, "/v1/images/edits": ImageEdits,
		"/v1/audio/transcriptions": Transcriptions, "/v1/audio/translations": Translations, "/v1/audio/speech": Speech,
		"/v1/moderations": Moderations, "/v1/rerank": Rerank, "/v1/models": ListModels,
		"/v1/usage": Usage, "/v1/key": Key, "/healthz": Health, "/readyz": Ready, "/": Probe,
	} {
		e, id := Match(path)
		if e != want || id != "" {
			t.Errorf("%s: got %v %q, want %v", path, e, id, want)
		}
		if e.Metered() && "/v1"+e.Path() != path {
			t.Errorf("%s: goes upstream as %s", path, e.Path())
		}
		if e.Metered() != (e.Method() == "POST") {
			t.Errorf("%s: metered %v with method %s", path, e.Metered(), e.Method())
		}
	}
}

func TestMatchTakesIDs(t *testing.T) {
	for path, want := range map[string]struct {
		e  Endpoint
		id string
	}{
		"/v1/models/gpt-4o":                     {GetModel, "gpt-4o"},
		"/v1/models/meta-llama/Llama-3.1-8B:q4": {GetModel, "meta-llama/Llama-3.1-8B:q4"},
		"/v1/responses/resp_1":                  {GetResponse, "resp_1"},
	} {
		if e, id := Match(path); e != want.e || id != want.id {
			t.Errorf("%s: got %v %q, want %v", path, e, id, want)
		}
	}
}

func TestMatchRefusesOtherSpellings(t *testing.T) {
	for _, path := range []string{
		"", "//", "//v1/usage", "/V1/usage", "/v1/Usage", "/v1/usage/", "/v1//usage", "/v1/./usage", "/v1/x/../usage",
		`\v1\usage`, "/v1/chat", "/v1/chatX", "/v1/chat/completions/", "/v1/chat/completionsX", "/chat/completions", "/v1",
		"/v1/models/", "/v1/models//x", "/v1/models/x/", "/v1/models/../usage", "/v1/models/a/../b", "/v1/models/.", `/v1/models/a\b`,
		"/v1/models/a%2fb", "/v1/models/a?b", "/v1/models/a\nb", "/v1/models/" + strings.Repeat("a", 257),
		"/v1/responses/", "/v1/responses/a/b", "/v1/responses/..", "/v1/responses/resp_1/cancel", "/v1/messages/batches",
		"/metrics", "/config/", "/pinegate/keys", "/healthz/", "/v1/healthz", "v1/usage", "*",
	} {
		if e, id := Match(path); e != Unknown || id != "" {
			t.Errorf("%q: got %v %q, want unknown", path, e, id)
		}
	}
}

func TestDialectFollowsThePath(t *testing.T) {
	for path, want := range map[string]*Dialect{
		"/v1/messages": Anthropic, "/v1/messages/count_tokens": Anthropic, "/v1/messages/batches": Anthropic,
		"/v1/messagesX": OpenAI, "/v1/chat/completions": OpenAI, "/": OpenAI, "": OpenAI, "/nonsense": OpenAI,
	} {
		if got := DialectOf(path); got != want {
			t.Errorf("%q: got %v, want %v", path, got, want)
		}
		if e, _ := Match(path); e != Unknown && e.Dialect() != want {
			t.Errorf("%q: the endpoint's dialect is %v", path, e.Dialect())
		}
	}
}

func TestGroupsAreTheWordsOfTheGrammar(t *testing.T) {
	want := strings.Fields("chat completions responses embeddings messages images audio moderations rerank")
	if got := Groups(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, e := range []Endpoint{ListModels, GetModel, Usage, Key, Health, Ready, Probe, Unknown, Endpoint(200)} {
		if e.Group() != "" {
			t.Errorf("%v needs the entry %q", e, e.Group())
		}
	}
}

func TestLabelsAreUnique(t *testing.T) {
	seen := map[string]Endpoint{}
	for i := range endpoints {
		e := Endpoint(i)
		if other, ok := seen[e.String()]; ok || e.String() == "" {
			t.Errorf("%d and %d are both called %q", e, other, e)
		}
		seen[e.String()] = e
	}
}

func TestOnlyWhatWritesTokensReservesOutput(t *testing.T) {
	for _, e := range []Endpoint{Embeddings, Moderations, Rerank, CountTokens, ListModels, Usage} {
		if e.Generates() || e.Streams() {
			t.Errorf("%v reserves output or streams", e)
		}
	}
	for _, e := range []Endpoint{ImageGenerations, ImageEdits, Transcriptions, Translations, Speech} {
		if !e.Generates() || e.Capped() {
			t.Errorf("%v reserves no output, or can be capped", e)
		}
	}
	for _, e := range []Endpoint{Chat, Completions, Responses, Messages} {
		if !e.Generates() || !e.Streams() || !e.Capped() {
			t.Errorf("%v does not, or has no cap", e)
		}
	}
}
