package integration

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// streamBodies ask for a stream, by path; the chat's for its usage too, so that
// the gate hides nothing.
var streamBodies = map[string]string{
	"/v1/chat/completions": `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`,
	"/v1/completions":      `{"model":"m","stream":true,"stream_options":{"include_usage":true},"prompt":"hi"}`,
	"/v1/responses":        `{"model":"m","stream":true,"input":"hi"}`,
	"/v1/messages":         `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`,
}

// brokenStreams are the beginnings of streams by path, which say eight letters,
// and what a caller must see at the end if the backend breaks off there.
var brokenStreams = map[string]struct{ begin, end string }{
	"/v1/chat/completions": {chunk("12345678"), openAIFailure},
	"/v1/completions":      {"data: {\"id\":\"c\",\"object\":\"text_completion\",\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"12345678\"}]}\n\n", openAIFailure},
	"/v1/responses": {responsesStream[0] + strings.Replace(responsesStream[1], `"hi"`, `"12345678"`, 1),
		event("error", `{"type":"error","code":"upstream_error","message":"The model server failed to answer.","param":null,"sequence_number":2,"error":{"message":"The model server failed to answer.","type":"server_error","param":null,"code":"upstream_error"}}`)},
	"/v1/messages": {messagesStream[1] + strings.Replace(messagesStream[3], `"hi"`, `"12345678"`, 1),
		event("error", `{"type":"error","error":{"type":"api_error","message":"The model server failed to answer."}}`)},
}

const openAIFailure = `data: {"error":{"message":"The model server failed to answer.","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n"

func TestBackendThatBreaksOffMidwayEndsTheStreamInItsDialect(t *testing.T) {
	eachWay(t, testBackendThatBreaksOffMidwayEndsTheStreamInItsDialect)
}

func testBackendThatBreaksOffMidwayEndsTheStreamInItsDialect(t *testing.T, way func(string) string) {
	cut := make(chan struct{})
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", streamType)
		_, _ = io.WriteString(w, brokenStreams[r.URL.Path].begin+r.Header.Get("X-Title"))
		w.(http.Flusher).Flush()
		<-cut
		reset(w)
	})
	g := startGate(t, way(bothDialects(b, "limit 4 concurrent")))
	for path, stream := range brokenStreams {
		for name, torn := range map[string]string{"between two events": "", "within an event": `data: {"choices":[{"delta":{"content":`} {
			t.Run(path+" "+name, func(t *testing.T) {
				before := g.usageOf("alice")
				res := g.open(context.Background(), "POST", path, callerKey, streamBodies[path], "X-Title", torn)
				defer res.Body.Close()
				begin := make([]byte, len(stream.begin))
				if _, err := io.ReadFull(res.Body, begin); err != nil || string(begin) != stream.begin {
					t.Fatalf("the stream begins with %q (%v)", begin, err)
				}
				cut <- struct{}{}
				rest, err := io.ReadAll(res.Body)
				if err != nil {
					t.Errorf("the stream ends with %v, want the clean end behind an error event", err)
				}
				want := stream.end
				if torn != "" {
					want = torn + "\n\n" + stream.end
				}
				if string(rest) != want {
					t.Errorf("the stream ends with\n%s\nwant\n%s", rest, want)
				}
				var after result
				eventually(t, "the request is recorded", func() bool {
					after = g.usageOf("alice")
					return after.Requests > before.Requests
				})
				if after.Requests-before.Requests != 1 || after.Errors-before.Errors != 1 ||
					after.Output-before.Output != 2 || after.Estimated-before.Estimated != 1 {
					t.Errorf("usage went from %+v to %+v, want one failed record of eight letters", before, after)
				}
			})
		}
	}
	eventually(t, "all places are free", func() bool { return g.keyInfo(callerKey).limit("concurrent", "").Remaining == 4 })
}

func TestErrorThatABackendSendsMidwayIsPassedAndCounted(t *testing.T) {
	failures := map[string]string{
		"/v1/chat/completions": "data: {\"error\":{\"message\":\"CUDA\",\"type\":\"server_error\",\"param\":null,\"code\":500}}\n\n",
		"/v1/completions":      "data: {\"error\":{\"message\":\"CUDA\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
		"/v1/responses":        event("error", `{"type":"error","code":"server_error","message":"CUDA","param":null,"sequence_number":2}`),
		"/v1/messages":         event("error", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`),
	}
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		streams(nil, brokenStreams[r.URL.Path].begin, failures[r.URL.Path])(w, r)
	})
	g := startGate(t, bothDialects(b, ""))
	for path, failure := range failures {
		t.Run(path, func(t *testing.T) {
			before := g.usageOf("alice")
			a := g.do("POST", path, callerKey, streamBodies[path])
			if want := brokenStreams[path].begin + failure; a.status != 200 || a.body != want {
				t.Errorf("got %d %s\nwant %s", a.status, a.body, want)
			}
			var after result
			eventually(t, "the request is recorded", func() bool {
				after = g.usageOf("alice")
				return after.Requests > before.Requests
			})
			if after.Requests-before.Requests != 1 || after.Errors-before.Errors != 1 || after.Output-before.Output != 2 {
				t.Errorf("usage went from %+v to %+v, want one failed record of eight letters", before, after)
			}
		})
	}
}

func TestAnswerThatIsCutShortIsToldFromAWholeOne(t *testing.T) {
	eachWay(t, testAnswerThatIsCutShortIsToldFromAWholeOne)
}

func testAnswerThatIsCutShortIsToldFromAWholeOne(t *testing.T, way func(string) string) {
	half := chatAnswer(strings.Repeat("a long answer ", 20_000), 3, 9) // more than is held back
	half = half[:len(half)/2]
	begun := make(chan struct{})
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		if r.Header.Get("X-Title") == "length" {
			w.Header().Set("Content-Length", "1000000")
		}
		_, _ = io.WriteString(w, half)
		w.(http.Flusher).Flush()
		<-begun // a reset drops what is yet to be read
		reset(w)
	})
	g := startGate(t, way(block(b, "")))
	for i, title := range []string{"length", "chunked"} {
		res := g.open(context.Background(), "POST", "/v1/chat/completions", callerKey, chatBody("m", "hi"), "X-Title", title)
		begun <- struct{}{}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil {
			t.Errorf("%s: the caller takes %q for a whole answer", title, text)
		}
		eventually(t, "the request is recorded", func() bool { return g.usageOf("alice").Requests == i+1 })
		if got := g.usageOf("alice"); got.Errors != i+1 || got.Input != 9*(i+1) || got.Estimated != i+1 {
			t.Errorf("%s: usage %+v, want one failed record more, its tokens estimated", title, got)
		}
	}
}
