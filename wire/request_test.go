package wire

import (
	"testing"
)

func BenchmarkScan(b *testing.B) {
	body := chatBody(1500)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Scan(Chat, body); err != nil {
			b.Fatal(err)
		}
	}
}

// chatBody is a chat request of about n bytes, as an SDK sends it.
func chatBody(n int) []byte {
	body := []byte(`{"model":"gpt-4o-mini","stream":false,"temperature":0.7,"max_tokens":256,"messages":[{"role":"system","content":"You are a helpful assistant."}`)
	for i := 0; len(body) < n-2; i++ {
		body = append(body, `,{"role":"user","content":"Summarise in one sentence what a token bucket does,\nand why it allows bursts. `...)
		body = append(body, `It is asked a few times so that the body has the length of an ordinary one."}`...)
	}
	return append(body, "]}"...)
}
