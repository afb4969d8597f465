package integration

import (
	"bytes"
	"math/rand/v2"
	"mime/multipart"
	"strings"
	"testing"
)

// formOf makes a form of fields, given as names and values, around a file.
func formOf(t *testing.T, file []byte, fields ...string) (contentType, body string) {
	t.Helper()
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	add := func(fields []string) {
		for i := 0; i < len(fields); i += 2 {
			if err := form.WriteField(fields[i], fields[i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(fields[:2]) // one before the file, the others behind it
	part, err := form.CreateFormFile("file", "speech.mp3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(file); err != nil {
		t.Fatal(err)
	}
	add(fields[2:])
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return form.FormDataContentType(), buf.String()
}

// noise is a file of bytes of every value, with what looks like a form's own.
func noise(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+64)
	for len(b) < n {
		b = append(b, byte(random.Uint32()))
	}
	return append(b, "\r\n--\r\nname=\"model\"\r\n\r\npublic\r\n\r\n"...)
}

func TestFormsReachTheBackendByteForByte(t *testing.T) {
	file := noise(600 << 10)
	audio, transcription := formOf(t, file, "model", "public", "response_format", "json", "prompt", "12345678")
	// Its model stands behind the file, where the file's own text comes first.
	last, translation := formOf(t, []byte("RIFF"), "temperature", "0", "model", "public")
	picture, edit := formOf(t, noise(1000), "model", "public", "prompt", "a hat", "n", "1")
	spoken := "Text that was heard.\n"

	tryEndpoints(t, []endpointCase{
		{"transcription", "/audio/transcriptions", "transcriptions", audio, transcription, jsonType,
			[]string{`{"text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":101,"total_tokens":115}}`},
			sums{Input: 14, Output: 101}},
		{"streamed transcription", "/audio/transcriptions", "transcriptions", audio, transcription, streamType,
			[]string{"data: {\"type\":\"transcript.text.delta\",\"delta\":\"hel\"}\n\n",
				"data: {\"type\":\"transcript.text.done\",\"text\":\"hello\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":15,\"output_tokens\":4,\"total_tokens\":19}}\n\n"},
			sums{Input: 15, Output: 4}},
		{"translation as text", "/audio/translations", "translations", last, translation, "text/plain; charset=utf-8", []string{spoken},
			sums{Input: 2000, Output: (len(spoken) + 3) / 4, Estimated: 1}},
		{"image edit", "/images/edits", "image_edits", picture, edit, jsonType,
			[]string{`{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":70,"output_tokens":30,"total_tokens":100}}`},
			sums{Input: 70, Output: 30}},
	})
	if strings.Count(transcription, "public") != 2 {
		t.Error("the file holds no second model: it proves nothing")
	}
}
