package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// chunked writes a request whose body is what stands behind the header.
func chunked(framed string, header ...string) string {
	header = append([]string{"Content-Type: application/json", "Transfer-Encoding: chunked"}, header...)
	return request(chatLine, "", header...) + framed
}

func TestBodiesHaveOneFraming(t *testing.T) {
	var mu sync.Mutex
	var framing string
	v := attack(t, setup{answer: func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		framing = fmt.Sprint(r.ContentLength, r.TransferEncoding, r.Trailer)
		mu.Unlock()
		answers(200, chatAnswer("hi", 1, 1))(w, r)
	}})
	body := chatBody("m", promptCanary)
	hidden := "GET /v1/usage HTTP/1.1\r\nHost: gate.test\r\nConnection: close\r\n\r\n"
	whole := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)

	t.Run("what is decoded is sent once, by its length", func(t *testing.T) {
		for name, text := range map[string]string{
			"one chunk":              chunked(whole, bearerKey),
			"two chunks":             chunked(fmt.Sprintf("5\r\n%s\r\n%X\r\n%s\r\n0\r\n\r\n", body[:5], len(body)-5, body[5:]), bearerKey),
			"length beside chunks":   chunked(whole, bearerKey, "Content-Length: 3"),
			"chunk extension":        chunked(strings.Replace(whole, "\r\n", ";a=b\r\n", 1), bearerKey),
			"trailers":               chunked(strings.TrimSuffix(whole, "\r\n")+"Authorization: Bearer x\r\nX-Usage: 1\r\n\r\n", bearerKey, "Trailer: Authorization, X-Usage"),
			"undeclared trailers":    chunked(strings.TrimSuffix(whole, "\r\n")+"X-Api-Key: x\r\n\r\n", bearerKey),
			"the same length, twice": request(chatLine, body, bearerKey, fmt.Sprintf("Content-Length: %d", len(body))),
			"a folded header":        request(chatLine, body, "Authorization:\r\n Bearer "+callerKey),
		} {
			before := len(v.backend.seen())
			if a := v.rawOne(t, text); a.status != 200 {
				t.Errorf("%s: %d %s", name, a.status, a.body)
				continue
			}
			sent := v.backend.last(t)
			mu.Lock()
			if want := fmt.Sprint(len(body), []string(nil), http.Header(nil)); sent.body != body || framing != want || len(v.backend.seen()) != before+1 {
				t.Errorf("%s: the backend was sent %q as %s, want %s", name, sent.body, framing, want)
			}
			mu.Unlock()
		}
	})
	t.Run("what is malformed is refused, and nothing behind it is read", func(t *testing.T) {
		for name, text := range map[string]string{
			"bare LF behind a chunk's size":   chunked(strings.Replace(whole, "\r\n", "\n", 1)+hidden, bearerKey),
			"bare LF in an extension":         chunked(strings.Replace(whole, "\r\n", ";a\nb\r\n", 1)+hidden, bearerKey),
			"bare LF behind a chunk":          chunked(strings.Replace(whole, "}\r\n", "}\n", 1)+hidden, bearerKey),
			"bare CR":                         chunked(strings.Replace(whole, "\r\n", "\r", 1)+hidden, bearerKey),
			"negative size":                   chunked("-"+whole+hidden, bearerKey),
			"0x":                              chunked("0x"+whole+hidden, bearerKey),
			"size with a sign":                chunked("+"+whole+hidden, bearerKey),
			"size with a blank before":        chunked(" "+whole+hidden, bearerKey),
			"size that overflows":             chunked("1000000000000000"+whole+hidden, bearerKey),
			"size too small":                  chunked("1\r\n"+body+"\r\n0\r\n\r\n"+hidden, bearerKey),
			"no size":                         chunked("\r\n"+hidden, bearerKey),
			"chunked twice":                   chunked(whole+hidden, bearerKey, "Transfer-Encoding: chunked"),
			"chunked, identity":               request(chatLine, body+hidden, bearerKey, "Transfer-Encoding: chunked, identity"),
			"identity, chunked":               request(chatLine, body+hidden, bearerKey, "Transfer-Encoding: identity, chunked"),
			"gzip, chunked":                   request(chatLine, whole+hidden, bearerKey, "Transfer-Encoding: gzip, chunked"),
			"xchunked":                        request(chatLine, whole+hidden, bearerKey, "Transfer-Encoding: xchunked"),
			"chunked behind a vertical tab":   request(chatLine, whole+hidden, bearerKey, "Transfer-Encoding: \x0bchunked"),
			"blank before the colon":          request(chatLine, whole+hidden, bearerKey, "Transfer-Encoding : chunked"),
			"two lengths":                     request(chatLine, body+hidden, bearerKey, "Content-Length: 3"),
			"list of lengths":                 request(chatLine, "", bearerKey, "Content-Length: 3, 4") + body + hidden,
			"length with a sign":              request(chatLine, "", bearerKey, fmt.Sprintf("Content-Length: +%d", len(body))) + body + hidden,
			"negative length":                 request(chatLine, "", bearerKey, "Content-Length: -1") + body + hidden,
			"length in hexadecimal":           request(chatLine, "", bearerKey, fmt.Sprintf("Content-Length: 0x%x", len(body))) + body + hidden,
			"length that overflows":           request(chatLine, "", bearerKey, "Content-Length: 18446744073709551617") + body + hidden,
			"NUL in a header":                 request(chatLine, body, bearerKey, "X: a\x00b"),
			"header without a name":           request(chatLine, body, bearerKey, ": a"),
			"header without a colon":          request(chatLine, body, bearerKey, "Authorization"),
			"folded line in front of headers": strings.Replace(request(chatLine, body, bearerKey), "Host:", " folded\r\nHost:", 1),
		} {
			v.unseen(t, func() {
				a := v.rawOne(t, text)
				if a.status != 400 && a.status != 501 {
					t.Errorf("%s: %d %s", name, a.status, a.body)
				}
			})
		}
	})
	t.Run("a key in a trailer is none", func(t *testing.T) {
		v.unseen(t, func() {
			a := v.rawOne(t, chunked(strings.TrimSuffix(whole, "\r\n")+bearerKey+"\r\n\r\n", "Trailer: Authorization"))
			if got := refusal(t, a); got != noKey {
				t.Error(got)
			}
		})
	})
}

func TestPipelinedRequestsAreJudgedAlone(t *testing.T) {
	v := attack(t, setup{})
	body := chatBody("m", promptCanary)
	open := func(text string) string { return strings.Replace(text, "Connection: close\r\n", "", 1) }
	good, bad := request(chatLine, body, bearerKey), request(chatLine, body, "Authorization: Bearer sk-000000000000000000000000")
	keyless := request("GET /v1/usage", "")
	for name, c := range map[string]struct {
		text string
		want []int
		sent int
	}{
		"good, then bad":                  {open(good) + bad, []int{200, 401}, 1},
		"bad, then good":                  {open(bad) + good, []int{401, 200}, 1},
		"good, then none":                 {open(good) + request(chatLine, body), []int{200, 401}, 1},
		"good, good, none":                {open(good) + open(good) + keyless, []int{200, 200, 401}, 2},
		"body longer than its length":     {open(good) + "X" + keyless, []int{200, 405}, 1}, // XGET is a method like any other
		"request hidden behind a body":    {open(request(chatLine, body, bearerKey)) + keyless, []int{200, 401}, 1},
		"request hidden in a refused one": {open(request("GET /v1/chat/completions", keyless, bearerKey)) + keyless, []int{405, 401}, 0},
		"behind a body on a GET":          {open(request("GET /v1/models", keyless, bearerKey)) + keyless, []int{200, 401}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(v.backend.seen())
			var got []int
			for _, a := range v.raw(t, c.text) {
				got = append(got, a.status)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) || len(v.backend.seen())-before != c.sent {
				t.Errorf("answers %v, want %v; the backend was sent %d, want %d", got, c.want, len(v.backend.seen())-before, c.sent)
			}
		})
	}
}

func TestExpectContinue(t *testing.T) {
	v := attack(t, setup{gate: "max_body 1MB"})
	body := chatBody("m", promptCanary)
	expect := func(length int, header ...string) string {
		return request(chatLine, "", append(header, "Content-Type: application/json", "Expect: 100-continue", fmt.Sprintf("Content-Length: %d", length))...)
	}
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"bad key":      {expect(len(body), "Authorization: Bearer sk-000000000000000000000000"), invalidKey},
		"no key":       {expect(len(body)), noKey},
		"too large":    {expect(2_000_000, bearerKey), "413 invalid_request_error request_too_large null"},
		"wrong type":   {strings.Replace(expect(len(body), bearerKey), "application/json", "text/plain", 1), "415 invalid_request_error null null"},
		"unknown path": {strings.Replace(expect(len(body), bearerKey), "completions", "nothing", 1), unknownURL},
	} {
		t.Run(name+": refused without a 100", func(t *testing.T) {
			v.unseen(t, func() {
				if got := refusal(t, v.rawOne(t, c.text)); got != c.want {
					t.Error(got)
				}
				// A caller that means to use the connection again is asked to, too,
				// before its body has come, which net/http waits for.
				conn := v.dial(t)
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				if _, err := io.WriteString(conn, strings.Replace(c.text, "Connection: close\r\n", "", 1)); err != nil {
					t.Fatal(err)
				}
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatalf("kept alive: %v", err)
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if got := refusal(t, answer{res.StatusCode, res.Header, string(body)}); got != c.want || err != nil || !res.Close {
					t.Errorf("kept alive: %s, %v, closes %t", got, err, res.Close)
				}
			})
		})
	}
	t.Run("good key", func(t *testing.T) {
		conn := v.dial(t)
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, expect(len(body), bearerKey)); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
			t.Fatalf("got %q %v", line, err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, body); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("got %v %v", res, err)
		}
		if expected := v.backend.last(t).header.Get("Expect"); expected != "" {
			t.Errorf("Expect: %s left the gate", expected)
		}
	})
}

func TestBodiesAreBoundedInSizeAndTime(t *testing.T) {
	t.Parallel()
	v := attack(t, setup{gate: "max_body 100KB"})
	large := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(promptCanary, 10_000) + `"}]}`
	for name, text := range map[string]string{
		"by its length":   request(chatLine, large, bearerKey),
		"by a claim":      request(chatLine, "", bearerKey, "Content-Type: application/json", "Content-Length: 999999999999") + "{",
		"chunked":         chunked(strings.Repeat("1000\r\n"+large[:0x1000]+"\r\n", 40)+"0\r\n\r\n", bearerKey),
		"in tiny chunks":  chunked(strings.Repeat("1\r\n \r\n", 150_000)+"0\r\n\r\n", bearerKey),
		"extensions only": chunked(strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\n \r\n", 1000)+"0\r\n\r\n", bearerKey),
	} {
		t.Run(name, func(t *testing.T) {
			v.unseen(t, func() {
				got := refusal(t, v.rawOne(t, text))
				if got != "413 invalid_request_error request_too_large null" && (name != "extensions only" || !strings.HasPrefix(got, "400")) {
					t.Error(got)
				}
			})
		})
	}
	if a := v.rawOne(t, chunked(strings.Repeat("1000\r\n"+strings.Repeat(" ", 0x1000)+"\r\n", 20)+"2\r\n{}\r\n0\r\n\r\n", bearerKey)); a.status != 400 {
		t.Errorf("80 kB of space and an object: %d", a.status)
	}
	t.Run("a byte at a time", func(t *testing.T) {
		conn := v.dial(t)
		_ = conn.SetDeadline(time.Now().Add(40 * time.Second))
		ended := make(chan struct{})
		go func() {
			_, _ = io.WriteString(conn, request(chatLine, "", bearerKey, "Content-Type: application/json", "Content-Length: 90000"))
			tick := time.NewTicker(time.Second / 2)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					_, _ = io.WriteString(conn, " ")
				case <-ended:
					return
				}
			}
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		close(ended)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || refusal(t, answer{res.StatusCode, res.Header, string(body)}) != "408 invalid_request_error null null" {
			t.Errorf("got %d %s %v", res.StatusCode, body, err)
		}
	})
	if n := len(v.backend.seen()); n != 0 {
		t.Errorf("the backend was sent %d requests", n)
	}
}
