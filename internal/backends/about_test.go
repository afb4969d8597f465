package backends

import "testing"

// What real servers say with one status may be about the request, the model or the
// gate's own account.
func TestWhatAnErrorIsAbout(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   subject
	}{
		"OpenRouter, flagged":                  {403, `{"error":{"code":403,"message":"Your input was flagged","metadata":{"reasons":["violence"],"flagged_input":"…"}}}`, aboutRequest},
		"OpenAI, usage policy":                 {403, `{"error":{"message":"Your request was rejected: it may violate our usage policies.","code":"content_policy_violation"}}`, aboutRequest},
		"Azure, content filter":                {403, `{"error":{"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}`, aboutRequest},
		"Bedrock, guardrail":                   {403, `{"message":"Guardrail intervened"}`, aboutRequest},
		"a key without permission":             {403, `{"error":{"message":"You have insufficient permissions for this operation.","type":"permission_error"}}`, aboutBackend},
		"Gemini, no permission":                {403, `[{"error":{"code":403,"message":"Permission denied on resource project x.","status":"PERMISSION_DENIED"}}]`, aboutBackend},
		"a project without the model":          {403, `{"error":{"message":"Project x does not have access to model y","code":"model_not_found"}}`, aboutModel},
		"a country":                            {403, `{"error":{"code":"unsupported_country_region_territory"}}`, aboutBackend},
		"OpenRouter, fewer max_tokens":         {402, `{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 1000.","code":402}}`, aboutRequest},
		"DeepSeek, no money":                   {402, `{"error":{"message":"Insufficient Balance","type":"unknown_error"}}`, aboutBackend},
		"OpenAI, one request over the limit":   {429, `{"error":{"message":"Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 45000.","code":"rate_limit_exceeded"}}`, aboutRequest},
		"Groq, one request over the limit":     {429, `{"error":{"message":"Rate limit reached on tokens per minute (TPM): Limit 6000, Used 0, Requested 8192. Please try again in 7s."}}`, aboutRequest},
		"OpenAI, many requests":                {429, `{"error":{"message":"Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s."}}`, aboutBackend},
		"Anthropic, many requests":             {429, `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 40,000 input tokens per minute."}}`, aboutBackend},
		"a 429 without a word":                 {429, ``, aboutBackend},
		"llama.cpp, a prompt that is too long": {500, `{"error":{"code":500,"message":"the request exceeds the available context size. try increasing the context size"}}`, aboutRequest},
		"llama.cpp, a broken request":          {500, `{"error":{"code":500,"message":"Missing 'role' in message","type":"server_error"}}`, aboutBackend},
		"a crash":                              {500, `Internal Server Error`, aboutBackend},
		"Ollama, no model":                     {404, `{"error":{"message":"model \"x\" not found, try pulling it first"}}`, aboutModel},
		"OpenAI, no model":                     {404, `{"error":{"message":"The model 'x' does not exist or you do not have access to it.","code":"model_not_found"}}`, aboutModel},
		"Anthropic, no model":                  {404, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}`, aboutModel},
		"Azure, no deployment":                 {404, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`, aboutModel},
		"OpenRouter, no endpoints":             {404, `{"error":{"message":"No endpoints found for x.","code":404}}`, aboutModel},
		"vLLM, no model":                       {404, `{"object":"error","message":"The model 'x' does not exist.","type":"NotFoundError","code":404}`, aboutModel},
		"Groq, a model of the past":            {400, `{"error":{"message":"The model 'x' has been decommissioned","code":"model_decommissioned"}}`, aboutModel},
		"a response that nobody stored":        {404, `{"error":{"message":"Response with id 'resp_1' not found."}}`, aboutRequest},
		"a caller's mistake":                   {400, `{"error":{"message":"messages: the model needs at least one"}}`, aboutRequest},
		"legal reasons":                        {451, ``, aboutRequest},
		"Groq, no flex capacity":               {498, `{"error":{"message":"Flex tier capacity exceeded"}}`, aboutBackend},
		"too early":                            {425, ``, aboutBackend},
		"a timeout":                            {408, ``, aboutBackend},
		"a wrong key":                          {401, `{"error":{"message":"Incorrect API key; the prompt was flagged"}}`, aboutBackend},
	} {
		if got := subjectOf(c.status, []byte(c.body)); got != c.want {
			t.Errorf("%s: about %d, want %d", name, got, c.want)
		}
	}
}
