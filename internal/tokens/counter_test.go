package tokens

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tiktoken-go/tokenizer/codec"
)

func TestCountIsThatOfTheWholeText(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no texts", err)
	}
	whole := codec.NewO200kBase()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat(string(text), 20)
		want, err := whole.Count(long)
		if err != nil {
			t.Fatal(err)
		}
		got := O200k().Count([]byte(long))
		// Where a token is cut in two there is one more.
		if most := int64(want + want/200 + 2); got < int64(want) || got > most {
			t.Errorf("%s: %d tokens, want %d to %d", file, got, want, most)
		}
	}
	for text, want := range map[string]int64{"": 0, "hello world": 2, "\xff\xfe": 2} {
		if got := O200k().Count([]byte(text)); got != want {
			t.Errorf("%q: %d tokens, want %d", text, got, want)
		}
	}
}

// Callers write the text: no kind of it may take for ever. In one piece some of
// these take half a minute, and four times that for twice the length.
func TestCountIsBoundedForEveryKindOfText(t *testing.T) {
	const size = 128 << 10
	for _, unit := range []string{"a", " ", "é", "\n", " \n", "\r\n ", "A", "aB", "'s", "!", "1", "漢", "\u0301", "\t ", "\x80", "\xe6", "<|endoftext|>"} {
		text := []byte(strings.Repeat(unit, size/len(unit)))
		start := time.Now()
		n := O200k().Count(text)
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("%q took %v", unit, took)
		}
		if n <= 0 || n > int64(len(text)) {
			t.Errorf("%q: %d tokens of %d bytes", unit, n, len(text))
		}
	}
}

func TestFragmentsBeginWithCharacters(t *testing.T) {
	for _, unit := range []string{"漢", "é", "😀", "a 漢", "word "} {
		for offset := range 4 {
			text := []byte(strings.Repeat("x", offset) + strings.Repeat(unit, fragment))
			for len(text) > fragment {
				n := cut(text)
				if n < fragment/2 || n > fragment || text[n]&0xC0 == 0x80 {
					t.Fatalf("%q, %d in front: cut at %d", unit, offset, n)
				}
				text = text[n:]
			}
		}
	}
}

func BenchmarkCount(b *testing.B) {
	text, err := os.ReadFile("testdata/english.txt")
	if err != nil {
		b.Fatal(err)
	}
	counter := O200k()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		counter.Count(text)
	}
}
