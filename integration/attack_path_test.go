package integration

import (
	"strings"
	"testing"
)

const (
	wrongMethod = "405 invalid_request_error null null"
	noWebSocket = "426 invalid_request_error websocket_not_supported null"
)

func TestBackendsAreSentCanonicalPathsOnly(t *testing.T) {
	v := attack(t, setup{})
	chat := chatBody("m", promptCanary)
	refused := map[string]string{
		// line → what the holder of a key is answered, and who has none too
		"POST /V1/chat/completions":                     unknownURL,
		"POST /v1/Chat/completions":                     unknownURL,
		"POST /v1/chat/completions.":                    unknownURL,
		"POST /v1/chat/completions%20":                  unknownURL,
		"POST /v1/chat/completions%00":                  unknownURL,
		"POST /v1/chat/completions%0d%0a":               unknownURL,
		"POST /v1/chat/completions;a=b":                 unknownURL,
		"POST /v1/chat/completions%3Fa=b":               unknownURL,
		"POST /v1/chat/completions%252f":                unknownURL,
		"POST /v1/chat/completions#fragment":            unknownURL,
		"POST /v1/./chat/completions":                   unknownURL,
		"POST /v1/x/../chat/completions":                unknownURL,
		"POST /v1/x/%2e%2e/chat/completions":            unknownURL,
		"POST /../v1/chat/completions":                  unknownURL,
		`POST /v1\chat\completions`:                     unknownURL,
		"POST /v1/chat%5ccompletions":                   unknownURL,
		"POST /v1/chat/completions/../../usage":         unknownURL,
		"POST /v1/chat":                                 unknownURL,
		"POST /v1/chatX":                                unknownURL,
		"POST /v1/chat/completionsX":                    unknownURL,
		"POST /v1/v1/chat/completions":                  unknownURL,
		"POST /openai/deployments/m/chat/completions":   unknownURL,
		"POST /v1/files":                                unknownURL,
		"POST /v1/batches":                              unknownURL,
		"POST /v1/fine_tuning/jobs":                     unknownURL,
		"POST /v1/messages/batches":                     "anthropic 404 not_found_error",
		"GET //v1/usage":                                unknownURL,
		"GET /V1/usage":                                 unknownURL,
		"GET /v1/usage/":                                unknownURL,
		"GET /v1/models/../usage":                       unknownURL,
		"GET /v1/models/%2e%2e/usage":                   unknownURL,
		"GET /v1/models/..%2fusage":                     unknownURL,
		`GET /v1/models/..\usage`:                       unknownURL,
		"GET /v1/responses/..%2fusage":                  unknownURL,
		"GET /v1/responses/a/../../usage":               unknownURL,
		"GET /v1/responses/a%2fb":                       unknownURL,
		"GET /v1/responses/a%3fb":                       unknownURL,
		"GET /usage":                                    unknownURL,
		"GET /v1//usage":                                unknownURL,
		"GET /key":                                      unknownURL,
		"GET /v1/responses/":                            wrongMethod,
		"POST /":                                        wrongMethod,
		"GET /metrics":                                  unknownURL,
		"GET /pinegate/":                                unknownURL,
		"GET /pinegate/usage":                           unknownURL,
		"GET /config/":                                  unknownURL,
		"POST /load":                                    unknownURL,
		"POST /stop":                                    unknownURL,
		"GET /debug/pprof/":                             unknownURL,
		"GET /debug/vars":                               unknownURL,
		"GET /reverse_proxy/upstreams":                  unknownURL,
		"GET /pki/ca/local":                             unknownURL,
		"GET /favicon.ico":                              unknownURL,
		"GET /.env":                                     unknownURL,
		"GET /v1/chat/completions":                      wrongMethod,
		"PUT /v1/chat/completions":                      wrongMethod,
		"post /v1/chat/completions":                     wrongMethod,
		"TRACE /v1/chat/completions":                    wrongMethod,
		"CONNECT /v1/chat/completions":                  wrongMethod,
		"PROPFIND /v1/chat/completions":                 wrongMethod,
		"POST /v1/models":                               wrongMethod,
		"DELETE /v1/responses/resp_1":                   wrongMethod,
		"POST /v1/usage":                                wrongMethod,
		"TRACE /":                                       wrongMethod,
		"GET /v1/messages":                              "anthropic 405 invalid_request_error",
		"POST http://gate.test":                         unknownURL,
		"POST http://gate.test/v1/chat/completions/../": unknownURL,
	}
	for line, want := range refused {
		t.Run(line, func(t *testing.T) {
			v.unseen(t, func() {
				for _, header := range []string{bearerKey, "X: y"} {
					a := v.rawOne(t, request(line, chat, header, "X-Http-Method-Override: POST", "X-Original-Url: /v1/chat/completions", "X-Rewrite-Url: /v1/chat/completions"))
					if got := refusal(t, a); got != want {
						t.Errorf("with %q: %s, want %s", header, got, want)
					}
					if a.status == 405 && a.header.Get("Allow") == "" {
						t.Error("no Allow")
					}
				}
			})
		})
	}
	for _, line := range []string{
		chatLine,
		"POST /v1/%63hat/completions",
		"POST /v1/chat%2Fcompletions",
		"POST /%76%31/chat/completions",
		"POST //v1/chat/completions",
		"POST /v1//chat/completions",
		"POST /v1/chat/completions/",
		"POST /v1/chat/completions%2F",
		"POST /chat/completions",
		"POST http://gate.test//v1/chat/completions",
		chatLine + "?",
		chatLine + "?model=other&api_base=http://192.0.2.1",
		chatLine + "?a=%zz&;;&&",
		"POST http://gate.test/v1/chat/completions",
		"POST http://elsewhere.test:1/v1/chat/completions",
		"POST https://user:password@elsewhere.test/v1/chat/completions",
		"POST HTTP://[::1]/v1/chat/completions",
	} {
		t.Run("canonical: "+line, func(t *testing.T) {
			v.unseen(t, func() {
				if got := refusal(t, v.rawOne(t, request(line, chat))); got != noKey {
					t.Errorf("without a key: %s", got)
				}
			})
			before := len(v.backend.seen())
			if a := v.rawOne(t, request(line, chat, bearerKey)); a.status != 200 {
				t.Fatalf("with a key: %d %s", a.status, a.body)
			}
			sent := v.backend.last(t)
			if len(v.backend.seen()) != before+1 || sent.path != "/v1/chat/completions" || sent.query != "" || "http://"+sent.host != v.backend.URL {
				t.Errorf("the backend was sent %s %s?%s for %s", sent.method, sent.path, sent.query, sent.host)
			}
		})
	}
}

// These are answered by Go's server or by Caddy, before the gate: what counts
// is that nothing passes.
func TestOddRequestLinesReachNoBackend(t *testing.T) {
	v := attack(t, setup{})
	chat := chatBody("m", "x")
	backend := strings.TrimPrefix(v.backend.URL, "http://")
	for _, text := range []string{
		request("OPTIONS *", "", bearerKey),
		request("POST *", chat, bearerKey),
		request("CONNECT "+backend, "", bearerKey),
		request("CONNECT "+backend, chat, bearerKey, "Upgrade: websocket"),
		request("CONNECT gate.test:443", "", bearerKey),
		request("POST "+backend+"/v1/chat/completions", chat, bearerKey),
		request("POST v1/chat/completions", chat, bearerKey),
		request("POST ?/v1/chat/completions", chat, bearerKey),
		request("POST /v1/chat/completions%zz", chat, bearerKey),
		request("POST /v1/chat/completions\x00", chat, bearerKey),
		request("PO ST /v1/chat/completions", chat, bearerKey),
		strings.Replace(request(chatLine, chat, bearerKey), "HTTP/1.1", "HTTP/1.1 HTTP/1.1", 1),
		strings.Replace(request(chatLine, chat, bearerKey), "HTTP/1.1", "HTTP/2.0", 1),
		strings.Replace(request(chatLine, chat, bearerKey), " HTTP/1.1", "", 1),
		strings.Replace(request(chatLine, chat, bearerKey), "Host: gate.test\r\n", "", 1),
		strings.Replace(request(chatLine, chat, bearerKey), "Host: gate.test", "Host: gate.test\r\nHost: other.test", 1),
		strings.Replace(request(chatLine, chat, bearerKey), "Host: gate.test", "Host: a/b", 1),
	} {
		line, _, _ := strings.Cut(text, "\r\n")
		t.Run(line, func(t *testing.T) {
			v.unseen(t, func() {
				for _, a := range v.raw(t, text) {
					if a.status < 400 && !strings.HasPrefix(text, "OPTIONS *") || strings.Contains(a.body, "chatcmpl") {
						t.Errorf("%d %s", a.status, a.body)
					}
				}
			})
		})
	}
}

// Nothing that a caller says of hosts, identities or accounts goes upstream,
// nor does it decide where a request goes.
func TestHeadersAboutTheCallerEndAtTheGate(t *testing.T) {
	foreign := newBackend(t, answers(200, chatAnswer("foreign", 1, 1)))
	v := attack(t, setup{backend: "models m", gate: "backend foreign " + foreign.URL + " {\nmodels other\n}\n"})
	address := strings.TrimPrefix(foreign.URL, "http://")
	lie := []string{
		"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: " + address, "X-Forwarded-Proto: https", "X-Forwarded-Server: " + address,
		"Forwarded: for=192.0.2.1;host=" + address, "X-Real-Ip: 192.0.2.1", "Via: 1.1 " + address, "X-Host: " + address, "X-Original-Host: " + address,
		"X-Original-Url: " + foreign.URL + "/v1/chat/completions", "X-Rewrite-Url: /v1/usage", "X-Portkey-Custom-Host: " + foreign.URL,
		"X-Litellm-Api-Base: " + foreign.URL, "X-Target-Url: " + foreign.URL, "X-Proxy-Target: " + foreign.URL, "Proxy-Host: " + address,
		"X-Pinegate-Key: bob", "X-Pinegate-Team: admins", "X-User-Id: root", "X-Consumer-Username: root", "X-Authenticated-User: root",
		"Remote-User: root", "X-Api-Key: " + callerKey, "Api-Key: " + callerKey, "X-Goog-Api-Key: " + callerKey,
		"Openai-Organization: org-1", "Openai-Project: proj-1", "Cookie: session=1", "Proxy-Authorization: Basic eDp5", "Early-Data: 1",
		"X-Request-Id: chosen-by-the-caller", "Te: trailers", "Accept-Encoding: br", "Range: bytes=0-1", "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	body := chatBody("m", promptCanary, `"api_base":"`+foreign.URL+`"`, `"base_url":"`+foreign.URL+`"`, `"api_key":"sk-other"`,
		`"custom_llm_provider":"x"`, `"user":"{env.BACKEND_KEY}"`, `"metadata":{"f":"{file./etc/passwd}"}`)
	for name, connection := range map[string]string{
		"plainly":                    "Connection: close",
		"with a busy Connection":     "Connection: close, Authorization, Host, Content-Type, Content-Length, Accept-Encoding, X-Forwarded-For, User-Agent",
		"with several Connections":   "Connection: Authorization\r\nConnection: X-Api-Key\r\nConnection: close",
		"with a broken Connection":   "Connection: close,,;=, Authorization ,\"",
		"with a hop that is not one": "Connection: close\r\nProxy-Connection: Authorization\r\nKeep-Alive: Authorization",
	} {
		t.Run(name, func(t *testing.T) {
			text := request(chatLine+"?api_base="+foreign.URL, body, append([]string{bearerKey, "User-Agent: {env.BACKEND_KEY}", "X-Title: {file./etc/passwd}"}, lie...)...)
			a := v.rawOne(t, strings.Replace(text, "Connection: close", connection, 1))
			if a.status != 200 || strings.Contains(a.body, "foreign") {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			if id := a.header["X-Request-Id"]; len(id) != 1 || id[0] == "chosen-by-the-caller" {
				t.Errorf("X-Request-Id %v", id)
			}
			sent := v.backend.last(t)
			if sent.body != body || sent.header.Get("Authorization") != "Bearer "+backendKey || "http://"+sent.host != v.backend.URL {
				t.Errorf("the backend was sent %+v", sent)
			}
			if agent := sent.header.Get("User-Agent"); agent != "{env.BACKEND_KEY}" && strings.HasPrefix(connection, "Connection: close\r\n") {
				t.Errorf("User-Agent is %q", agent)
			}
			allowed := map[string]bool{"Authorization": true, "Content-Type": true, "Content-Length": true, "Accept-Encoding": true, "User-Agent": true, "X-Title": true, "Traceparent": true}
			for name, values := range sent.header {
				if !allowed[name] {
					t.Errorf("%s: %q left the gate", name, values)
				}
			}
			if len(foreign.seen()) != 0 {
				t.Errorf("another backend was sent %+v", foreign.seen())
			}
		})
	}
	if log := v.Logs.String(); strings.Contains(log, "root:x:0") {
		t.Error("a file was read on a caller's word")
	}
}

func TestPlaceholdersInModelsAreLiteral(t *testing.T) {
	v := attack(t, setup{})
	for _, model := range []string{"{env.BACKEND_KEY}", "{file./etc/passwd}", "{http.request.header.Authorization}", "{{.Req.Header}}", "${BACKEND_KEY}", "{$BACKEND_KEY}"} {
		if a := v.ask("POST", "/v1/chat/completions", callerKey, chatBody(model, promptCanary)); a.status != 200 {
			t.Errorf("%s: %d %s", model, a.status, a.body)
		}
		if sent := v.backend.last(t).body; sent != chatBody(model, promptCanary) {
			t.Errorf("the backend was sent %s", sent)
		}
		v.ask("GET", "/v1/models/"+model, callerKey, "")
	}
}
