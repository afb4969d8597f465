package integration

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestUpgradesAreIgnoredOrRefused(t *testing.T) {
	v := attack(t, setup{})
	body := chatBody("m", promptCanary)
	upgrade := func(line, body string, header ...string) string {
		return strings.Replace(request(line, body, header...), "Connection: close", "Connection: close, Upgrade, HTTP2-Settings", 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"h2c":                       {upgrade(chatLine, body, bearerKey, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), ""},
		"H2C":                       {upgrade(chatLine, body, bearerKey, "Upgrade: H2C", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), ""},
		"Upgrade not in Connection": {request(chatLine, body, bearerKey, "Upgrade: websocket"), ""},
		"h2c without a key":         {upgrade(chatLine, body, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), noKey},
		"WebSocket":                 {upgrade(chatLine, body, bearerKey, "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"), badRequest + "null"},
		"WebSocket on responses":    {upgrade("GET /v1/responses", "", bearerKey, "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"), noWebSocket},
		"without a key":             {upgrade("GET /v1/responses", "", "Upgrade: websocket"), noWebSocket},
		"WebSocket by GET":          {upgrade("GET /v1/chat/completions", "", bearerKey, "Upgrade: websocket"), noWebSocket},
		"WebSocket on a response":   {upgrade("GET /v1/responses/resp_1", "", bearerKey, "Upgrade: websocket"), noWebSocket},
		"WebSocket on models":       {upgrade("GET /v1/models", "", bearerKey, "Upgrade: WebSocket"), noWebSocket},
		"realtime":                  {upgrade("GET /v1/realtime?model=m", "", bearerKey, "Upgrade: websocket"), "4"},
		"h2c and WebSocket":         {upgrade(chatLine, body, bearerKey, "Upgrade: h2c, websocket"), badRequest + "null"},
		"two Upgrade lines":         {upgrade(chatLine, body, bearerKey, "Upgrade: h2c", "Upgrade: websocket"), badRequest + "null"},
		"TLS":                       {upgrade(chatLine, body, bearerKey, "Upgrade: TLS/1.2"), badRequest + "null"},
		"h2c of a version":          {upgrade(chatLine, body, bearerKey, "Upgrade: h2c/1"), badRequest + "null"},
		"CONNECT to a path":         {upgrade("CONNECT /v1/chat/completions", "", bearerKey, "Upgrade: websocket"), wrongMethod},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(v.backend.seen())
			a := v.rawOne(t, c.text)
			if c.want != "" {
				if got := refusal(t, a); !strings.HasPrefix(got, c.want) || len(v.backend.seen()) != before {
					t.Errorf("got %s; the backend was sent %d", got, len(v.backend.seen())-before)
				}
				return
			}
			if a.status != 200 || a.header.Get("Upgrade") != "" || len(v.backend.seen()) != before+1 {
				t.Fatalf("got %d %v", a.status, a.header)
			}
			for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
				if sent := v.backend.last(t).header[name]; sent != nil {
					t.Errorf("%s: %q left the gate", name, sent)
				}
			}
		})
	}
	// HTTP/2 without TLS is served where a client knows of it: as any request.
	t.Run("h2c by prior knowledge", func(t *testing.T) {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols}
		defer transport.CloseIdleConnections()
		for key, want := range map[string]int{callerKey: 200, "sk-000000000000000000000000": 401} {
			req, err := http.NewRequest("POST", v.url+"/v1/chat/completions", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Api-Key", key)
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want || res.ProtoMajor != 2 {
				t.Errorf("got %s %d", res.Proto, res.StatusCode)
			}
		}
	})
	t.Run("extended CONNECT", func(t *testing.T) {
		v.unseen(t, func() { refusesExtendedConnect(t, v.dial(t)) })
	})
}

// refusesExtendedConnect asks for a WebSocket within HTTP/2 (RFC 8441): the gate
// must reset the stream or answer with an error.
func refusesExtendedConnect(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":path", "/v1/chat/completions"}, {":authority", "gate.test"},
		{"authorization", "Bearer " + callerKey}, {"sec-websocket-version", "13"},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return
		case *http2.MetaHeadersFrame:
			if status := f.PseudoValue("status"); !strings.HasPrefix(status, "4") {
				t.Errorf("answered with %s", status)
			}
			return
		}
	}
}
