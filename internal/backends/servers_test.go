package backends

import (
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

// serverAnswer is a real answer of a server, in testdata/servers: one file each,
// with where it is documented.
type serverAnswer struct {
	request string // "chat", or "chat stream"
	status  int    // that it stands for; 0: any
	next    bool   // another backend is tried
	failed  bool   // passed on, and metered as an error
	body    string // the caller's
	header  textproto.MIMEHeader
	answer  string
}

func readServerAnswer(t *testing.T, file string) (a serverAnswer) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, answer, _ := strings.Cut(string(text), "---\n")
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "request":
			a.request = value
		case "status":
			a.status, _ = strconv.Atoi(value)
			a.next = FallsBack(a.status)
		case "next":
			a.next = value == "yes"
		case "failed":
			a.failed = value == "yes"
		case "body":
			a.body = value
		default:
			if !strings.HasPrefix(line, "#") {
				t.Fatalf("unknown line %q", line)
			}
		}
	}
	header, answer, _ := strings.Cut(answer, "\n\n")
	a.header = make(textproto.MIMEHeader)
	for line := range strings.SplitSeq(strings.TrimSpace(header), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		a.header.Set(name, value)
	}
	if !strings.HasSuffix(answer, "\n\n") {
		answer = strings.TrimSuffix(answer, "\n")
	}
	a.answer = answer
	return a
}

// serve writes the answer line by line, as it arrives over a slow connection, or
// at once.
func (a serverAnswer) serve(slow bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range a.header {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusOK)
		for line := range strings.SplitAfterSeq(a.answer, "\n") {
			_, _ = io.WriteString(w, line)
			if slow {
				w.(http.Flusher).Flush()
			}
		}
	}
}

var serverPaths = map[string]string{
	"chat": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses",
	"messages": "/v1/messages", "embeddings": "/v1/embeddings",
}

// Whatever says that a request failed is a failure, in each server's form.
func TestAnswersOfServers(t *testing.T) {
	files, err := filepath.Glob("../../testdata/servers/*/*.answer")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		a := readServerAnswer(t, file)
		name, _ := strings.CutPrefix(file, "../../testdata/servers/")
		endpoint, stream, _ := strings.Cut(a.request, " ")
		body := `{"stream":` + strconv.FormatBool(stream != "") + `}`
		for _, slow := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " slowly"}[slow], func(t *testing.T) {
				eachWay(t, func(t *testing.T, proxy string) {
					p := newProxied(t, "", proxy, backend(t, a.serve(slow)).URL)
					p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
						ex.Meter = meter.New(meter.Config{Endpoint: ex.Endpoint, Final: func() {}})
						return r
					}
					res, got, out := p.do("POST", serverPaths[endpoint], body)
					if out.err != nil || a.status != 0 && out.attempt.Status != a.status {
						t.Fatalf("the caller got %d %s (%v), taken for %d, want %d", res.StatusCode, got, out.err, out.attempt.Status, a.status)
					}
					if a.body != "" && strings.TrimSpace(got) != a.body {
						t.Errorf("the caller got %s\nwant %s", got, a.body)
					}
					if res.StatusCode == 200 && got != a.answer || res.StatusCode != 200 && !strings.Contains(got, `"error":{`) {
						t.Errorf("the caller got %d %s", res.StatusCode, got)
					}
					if res.StatusCode == 200 && out.attempt.Meter.Result().StreamError != a.failed {
						t.Errorf("metered as failed: %v", !a.failed)
					}

					p.prepare = alternative(new(health.BackendState))
					res, got, out = p.do("POST", serverPaths[endpoint], body)
					var attempt *AttemptError
					if errors.As(out.err, &attempt) != a.next {
						t.Errorf("with another backend left the caller got %d %s (%v)", res.StatusCode, got, out.err)
					}
				})
			})
		}
	}
}
