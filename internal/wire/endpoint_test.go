package wire

import (
	"slices"
	"strings"
	"testing"
)

func TestMatchFindsEachEndpointByItsCanonicalPath(t *testing.T) {
	for path, want := range map[string]Endpoint{
		"/v1/chat/completions": Chat, "/v1/completions": Completions, "/v1/responses": Responses,
		"/v1/responses/compact": Compact, "/v1/responses/input_tokens": InputTokens,
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

func TestMatchTakesTheSpellingsThatBaseURLsLeadTo(t *testing.T) {
	for path, want := range map[string]struct {
		e  Endpoint
		id string
	}{
		"//v1/chat/completions":      {Chat, ""},
		"/v1//chat/completions":      {Chat, ""},
		"/v1/chat//completions":      {Chat, ""},
		"/v1/chat/completions/":      {Chat, ""},
		"/v1/chat/completions//":     {Chat, ""},
		"/chat/completions":          {Chat, ""},
		"//chat/completions/":        {Chat, ""},
		"/messages":                  {Messages, ""},
		"/messages/count_tokens":     {CountTokens, ""},
		"/v1/messages/":              {Messages, ""},
		"/responses/compact":         {Compact, ""},
		"/audio/transcriptions":      {Transcriptions, ""},
		"/embeddings/":               {Embeddings, ""},
		"/models":                    {ListModels, ""},
		"/v1/models/":                {ListModels, ""},
		"/models/org/name:tag":       {GetModel, "org/name:tag"},
		"/v1//models/gpt-4o/":        {GetModel, "gpt-4o"},
		"/v1/models//x":              {GetModel, "x"},
		"/responses/resp_1/":         {GetResponse, "resp_1"},
		"/v1/responses/":             {Responses, ""},
		"/v1/responses/input_tokens": {InputTokens, ""},
		"/v1":                        {Probe, ""},
		"/v1/":                       {Probe, ""},
		"//":                         {Probe, ""},
	} {
		if e, id := Match(path); e != want.e || id != want.id {
			t.Errorf("%s: got %v %q, want %v %q", path, e, id, want.e, want.id)
		}
	}
}

func TestMatchRefusesOtherSpellings(t *testing.T) {
	for _, path := range []string{
		"", "/V1/usage", "/v1/Usage", "/v1/./chat/completions", "/v1/x/../chat/completions", "/./chat/completions", "/../v1/chat/completions",
		`\v1\usage`, `/v1\chat\completions`, "/v1/chat", "/v1/chatX", "/v1/chat/completionsX", "/v1/chat/completions.", "/v1/chat/completions ",
		"/v1/chat/completions%2f", "/v1/chat/completions;a=b", "/v1/chat/completions?", "/v1/chat/completions#", "/v1/chat/completions\n", "/v1/chat/completions/\x00",
		"/v1/v1/chat/completions", "/openai/v1/chat/completions", "/V1/chat/completions", "chat/completions", "v1/chat/completions",
		"/v1/models/../usage", "/v1/models/a/../b", "/v1/models/.", `/v1/models/a\b`, "/models/..", "/v1//models/../usage",
		"/v1/models/a%2fb", "/v1/models/a?b", "/v1/models/a\nb", "/v1/models/" + strings.Repeat("a", 257), "//v1/models/" + strings.Repeat("a", 257),
		"/v1/responses/a/b", "/v1/responses/..", "/v1/responses/resp_1/cancel", "/v1/messages/batches", "/v1/chat/completions" + strings.Repeat("/", 1000),
		"/metrics", "/config/", "/pinegate/keys", "v1/usage", "*",
		// The gate's own endpoints have one spelling: a proxy in front may block them.
		"//v1/usage", "/v1//usage", "/v1/usage/", "/usage", "/key", "/v1/key/", "/healthz/", "//healthz", "/v1/healthz", "/v1/readyz", "/readyz/",
	} {
		if e, id := Match(path); e != Unknown || id != "" {
			t.Errorf("%q: got %v %q, want unknown", path, e, id)
		}
	}
}

func TestErrorsOfPathsNameWhatIsServed(t *testing.T) {
	for _, c := range []struct {
		err  *Error
		want []string
		not  string
	}{
		{UnknownURL("POST", "/v1/files"), []string{"POST /v1/files is not served here", "/v1/chat/completions", "/v1/messages"}, "begin with"},
		{UnknownURL("GET", "/api/tags"), []string{"GET /api/tags", "begin with /v1"}, ""},
		{UnknownURL("GET", "/\x1b[31m"), []string{"This path is not served here"}, "\x1b"},
		{UnknownURL("GET", "/"+strings.Repeat("a", 101)), []string{"This path is not served here"}, "aaa"},
		{UnknownURL("GET\r\n", "/x"), []string{"This path is not served here"}, "\r"},
		{GetResponse.WrongMethod("DELETE"), []string{"serves GET /v1/responses/{id}, not DELETE"}, ""},
		{Chat.WrongMethod("GET"), []string{"serves POST /v1/chat/completions, not GET"}, ""},
		{Probe.WrongMethod("POST"), []string{"serves GET /, not POST"}, ""},
		{Compact.WrongMethod("GET"), []string{"serves POST /v1/responses/compact, not GET"}, ""},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.err.Message, want) || c.not != "" && strings.Contains(c.err.Message, c.not) {
				t.Errorf("got %q, want %q and not %q", c.err.Message, want, c.not)
			}
		}
	}
}

func TestDialectFollowsThePath(t *testing.T) {
	for path, want := range map[string]*Dialect{
		"/v1/messages": Anthropic, "/v1/messages/count_tokens": Anthropic, "/v1/messages/batches": Anthropic,
		"/messages": Anthropic, "//v1/messages/": Anthropic, "/messages/batches": Anthropic,
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
	if got := Groups(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) { // further dialects may add more
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
	for _, e := range []Endpoint{Embeddings, Moderations, Rerank, CountTokens, InputTokens, ListModels, Usage} {
		if e.Generates() || e.Streams() {
			t.Errorf("%v reserves output or streams", e)
		}
	}
	for _, e := range []Endpoint{ImageGenerations, ImageEdits, Transcriptions, Translations, Speech, Compact} {
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
