package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// TestALargeUploadPassesWholeAndIsHeldOnce sends a recording that is nearly as
// large as max_body allows.
func TestALargeUploadPassesWholeAndIsHeldOnce(t *testing.T) {
	const size = 96 << 20
	got := make(chan string, 1)
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if r.Method == http.MethodPost {
			got <- digest(n, sum, err)
		}
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{"text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":2,"total_tokens":16}}`)
	}))
	t.Cleanup(model.Close)
	g := startGate(t, fmt.Sprintf("key alice %q\nmax_body 100MiB\nbackend whisper %s", callerKey, model.URL))

	head := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n"
	body := append(append([]byte(head), bytes.Repeat([]byte("0123456789abcdef"), size/16)...), "\r\n--b--\r\n"...)
	sum := sha256.New()
	sum.Write(body)
	before := g.heap()
	a := g.do("POST", "/v1/audio/transcriptions", callerKey, string(body), "Content-Type", "multipart/form-data; boundary=b")
	if a.status != http.StatusOK {
		t.Fatalf("%d %.300s", a.status, a.body)
	}
	if want, seen := digest(int64(len(body)), sum, nil), <-got; seen != want {
		t.Errorf("the backend got %s, want %s", seen, want)
	}
	// What the body grew out of takes up to as much again; a second copy of it
	// would make three of it.
	if grown := g.heap() - before; grown < size/2 || grown > 2.4*size {
		t.Errorf("the heap grew by %.0f MiB for a body of %d", grown/(1<<20), size>>20)
	}
}

// heap is how much memory the gate's heap has taken from the system, in bytes.
func (g *gate) heap() float64 {
	g.t.Helper()
	for line := range strings.Lines(g.metrics()) {
		if text, ok := strings.CutPrefix(line, "go_memstats_heap_sys_bytes "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				g.t.Fatal(err)
			}
			return bytes
		}
	}
	g.t.Fatal("the metrics have nothing of the heap")
	return 0
}

// digest is what was got of a body: its length and hash.
func digest(n int64, sum hash.Hash, err error) string {
	return fmt.Sprintf("%d bytes %x (%v)", n, sum.Sum(nil), err)
}
