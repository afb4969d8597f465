package request

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

const formType = "multipart/form-data; boundary=XX"

// buildForm returns a form of parts, each of which is headers and content.
func buildForm(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("--XX\r\n" + part + "\r\n")
	}
	return b.String() + "--XX--\r\n"
}

// formText returns a text field of a form.
func formText(name, value string) string {
	return fmt.Sprintf("Content-Disposition: form-data; name=%q\r\n\r\n%s", name, value)
}

const formFile = "Content-Disposition: form-data; name=\"file\"; filename=\"a;b.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\x00\xff--X\r\n-XX"

func TestFormsAreRead(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       Request
	}{
		{"a model", buildForm(formText("model", "whisper-1")), Request{Model: "whisper-1", Cap: -1, N: 1}},
		{"a file", buildForm(formFile, formText("model", "m")), Request{Model: "m", Cap: -1, N: 1, Images: 1, FileBytes: 10}},
		{"everything", buildForm(formText("n", "3"), formText("stream", "true"), formText("prompt", "é"), formText("model", "m"), formText("max_completion_tokens", "9"), formText("other", ""), formFile, formFile),
			Request{Model: "m", Stream: true, Cap: 9, N: 3, PromptBytes: 2, wideBytes: 2, Messages: 1, Images: 2, FileBytes: 20}},
		{"not streamed", buildForm(formText("stream", "false"), formText("model", "m")), Request{Model: "m", Cap: -1, N: 1}},
		{"lists of others", buildForm(formText("timestamp_granularities[]", "word"), formText("timestamp_granularities[]", "segment"), formText("model", "m")), Request{Model: "m", Cap: -1, N: 1}},
		{"names unquoted, headers in any case", buildForm("CONTENT-DISPOSITION:form-data;name=model\r\ncontent-type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nContent-Length: 1\r\n\r\nm"), Request{Model: "m", Cap: -1, N: 1}},
		{"a file named in two ways", buildForm("Content-Disposition: form-data; name=\"file\"; filename=\"a\"; filename*=UTF-8''a\r\n\r\n", formText("model", "m")), Request{Model: "m", Cap: -1, N: 1, Images: 1}},
		{"line breaks before the first boundary", "\r\n\r\n" + buildForm(formText("model", "m")), Request{Model: "m", Cap: -1, N: 1}},
		{"openai-node 4: line breaks behind the last boundary", buildForm(formFile, formText("model", "m")) + "\r\n\r\n", Request{Model: "m", Cap: -1, N: 1, Images: 1, FileBytes: 10}},
		{"blanks behind the boundaries", strings.ReplaceAll(strings.Replace(buildForm(formText("model", "m"), formText("n", "2")), "--XX--", "--XX--\t ", 1), "--XX\r\n", "--XX \t\r\n"), Request{Model: "m", Cap: -1, N: 2}},
		{"Python's booleans", buildForm(formText("model", "m"), formText("stream", "True")), Request{Model: "m", Stream: true, Cap: -1, N: 1}},
		{"a boolean as a number", buildForm(formText("model", "m"), formText("stream", "1")), Request{Model: "m", Stream: true, Cap: -1, N: 1}},
		{"a false boolean as a number", buildForm(formText("model", "m"), formText("stream", "0")), Request{Model: "m", Cap: -1, N: 1}},
		{"text parts with a character set", buildForm("Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nm", "Content-Disposition: form-data; name=\"prompt\"\r\nContent-Type: text/plain;charset=\"UTF-8\"\r\n\r\né"),
			Request{Model: "m", Cap: -1, N: 1, PromptBytes: 2, wideBytes: 2, Messages: 1}},
		{"escaped quotes in a filename", buildForm("Content-Disposition: form-data; name=\"file\"; filename=\"a\\\"b\\\".mp3\"\r\n\r\nxx", formText("model", "m")), Request{Model: "m", Cap: -1, N: 1, Images: 1, FileBytes: 2}},
		{"escaped quotes in a name", buildForm("Content-Disposition: form-data; name=\"a\\\"b\"\r\n\r\nxx", "Content-Disposition: form-data; name=\"a%22b\"\r\n\r\nxx", formText("model", "m")), Request{Model: "m", Cap: -1, N: 1}},
		{"a disposition in capitals, with a tab and a semicolon at its end", buildForm("Content-Disposition: Form-Data;\tname=\"model\";\r\n\r\nm"), Request{Model: "m", Cap: -1, N: 1}},
		{"no line break at the end", strings.TrimSuffix(buildForm(formText("model", "m")), "\r\n"), Request{Model: "m", Cap: -1, N: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ScanMultipart(formType, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			got.spans = spans{}
			if *got != c.want {
				t.Errorf("\n got %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestFormsAreRefused(t *testing.T) {
	model := formText("model", "canary")
	good := buildForm(model)
	part := func(headers string) string { return headers + "\r\n\r\ncanary" }
	for _, c := range []struct{ name, body, param string }{
		{"duplicate model", buildForm(model, model), "model"},
		{"folded model", buildForm(formText("Model", "canary")), "model"},
		{"model as a list", buildForm(formText("model[]", "canary")), "model"},
		{"model as an indexed list", buildForm(model, formText("model[0]", "x")), "model"},
		{"duplicate stream", buildForm(model, formText("stream", "true"), formText("stream", "true")), "stream"},
		{"duplicate n", buildForm(model, formText("n", "1"), formText("n", "1")), "n"},
		{"folded n", buildForm(model, formText("N", "1")), "n"},
		{"no model", buildForm(formFile), "model"},
		{"empty model", buildForm(formText("model", "")), "model"},
		{"long model", buildForm(formText("model", strings.Repeat("a", 257))), "model"},
		{"control in the model", buildForm(formText("model", "a\ncanary")), "model"},
		{"invalid UTF-8 in the model", buildForm(formText("model", "\xff")), "model"},
		{"model with a filename", buildForm(part(`Content-Disposition: form-data; name="model"; filename=""`)), "model"},
		{"model with an extended filename", buildForm(part(`Content-Disposition: form-data; name="model"; filename*=UTF-8''a`)), "model"},
		{"model as a stream of octets", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Type: application/octet-stream")), "model"},
		{"model in UTF-16", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-16")), "model"},
		{"another word for stream", buildForm(model, formText("stream", "2")), "stream"},
		{"spaced stream", buildForm(model, formText("stream", " true")), "stream"},
		{"model with an escaped quote behind it", buildForm(part(`Content-Disposition: form-data; name="model\"x"`)), "model"},
		{"model with an encoded quote behind it", buildForm(part(`Content-Disposition: form-data; name="model%22"`)), "model"},
		{"a prompt in Latin-1", buildForm(model, "Content-Disposition: form-data; name=\"prompt\"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\r\n\xe9"), "prompt"},
		{"model in UTF-7", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-7")), "model"},
		{"empty stream", buildForm(model, formText("stream", "")), "stream"},
		{"no answers", buildForm(model, formText("n", "0")), "n"},
		{"negative answers", buildForm(model, formText("n", "-1")), "n"},
		{"fraction of an answer", buildForm(model, formText("n", "1.0")), "n"},
		{"spaced answers", buildForm(model, formText("n", " 1")), "n"},
		{"a cap over all bounds", buildForm(model, formText("max_completion_tokens", "9223372036854775808")), "max_completion_tokens"},

		{"base64", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64")), ""},
		{"quoted-printable", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: quoted-printable")), ""},
		{"an encoding twice", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: 8bit")), ""},
		{"two dispositions", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Disposition: form-data; name=\"x\"")), ""},
		{"no disposition", buildForm(part("Content-Type: text/plain")), ""},
		{"two types", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain\r\nContent-Type: text/plain")), ""},
		{"another disposition", buildForm(part(`Content-Disposition: attachment; name="model"`)), ""},
		{"no name", buildForm(part(`Content-Disposition: form-data`)), ""},
		{"empty name", buildForm(part(`Content-Disposition: form-data; name=""`)), ""},
		{"two names", buildForm(part(`Content-Disposition: form-data; name="model"; name="x"`)), ""},
		{"a continued name", buildForm(part(`Content-Disposition: form-data; name*0="mo"; name*1="del"`)), ""},
		{"an extended name", buildForm(part(`Content-Disposition: form-data; name*=UTF-8''model`)), ""},
		{"a name in capitals", buildForm(part(`Content-Disposition: form-data; NAME="model"`)), ""},
		{"an escaped quote", buildForm(part(`Content-Disposition: form-data; name="x\"; name="model"`)), ""},
		{"an escaped quote in the filename", buildForm(part(`Content-Disposition: form-data; name="model"; filename="a\"; name=\"x"`)), ""},
		{"an escaped quote that hides a parameter", buildForm(model, part(`Content-Disposition: form-data; name="file"; filename="a\"; filename*="b"`)), ""},
		{"a backslash in the name", buildForm(part(`Content-Disposition: form-data; name="mo\del"`)), ""},
		{"a percent in the name", buildForm(part(`Content-Disposition: form-data; name="%6dodel"`)), ""},
		{"the Kelvin sign in the name", buildForm(part("Content-Disposition: form-data; name=\"max_to\u212Aens\"")), ""},
		{"a space in the name", buildForm(part(`Content-Disposition: form-data; name="model "`)), ""},
		{"an unclosed quote", buildForm(part(`Content-Disposition: form-data; name="model`)), ""},
		{"text behind the quote", buildForm(part(`Content-Disposition: form-data; name="model"x`)), ""},
		{"a parameter of another name", buildForm(part(`Content-Disposition: form-data; name="model"; x=y`)), ""},
		{"a folded header", buildForm(part("Content-Disposition: form-data;\r\n name=\"model\"")), ""},
		{"a space before the colon", buildForm(part(`Content-Disposition : form-data; name="model"`)), ""},
		{"a header without a colon", buildForm(part("Content-Disposition: form-data; name=\"model\"\r\nx")), ""},
		{"a line feed in the headers", buildForm(part("X: y\nContent-Disposition: form-data; name=\"model\"")), ""},
		{"a character set for all fields", buildForm(formText("_charset_", "utf-16"), model), ""},
		{"long headers", buildForm(part("X: " + strings.Repeat("a", maxPartHeader) + "\r\nContent-Disposition: form-data; name=\"model\"")), ""},
		{"a long field", buildForm(model, formText("x", strings.Repeat("a", maxFieldContent+1))), ""},
		{"a long prompt", buildForm(model, formText("prompt", strings.Repeat("a", maxFieldContent+1))), ""},
		{"too many parts", buildForm(append([]string{model}, strings.Split(strings.Repeat(formText("x", "")+"|", maxParts), "|")[:maxParts]...)...), ""},

		{"empty", "", ""},
		{"no parts", "--XX--\r\n", ""},
		{"JSON", `{"model":"canary"}`, ""},
		{"a preamble", "x\r\n" + good, ""},
		{"an epilogue", good + "x", ""},
		{"an epilogue behind line breaks", good + "\r\n\r\nx", ""},
		{"text behind a padded boundary", strings.Replace(good, "--XX\r\n", "--XX x\r\n", 1), ""},
		{"a line feed before the first boundary", "\n" + good, ""},
		{"a form behind the form", good + good, ""},
		{"truncated boundary", good[:len(good)-3], ""},
		{"truncated content", good[:len(good)-9], ""},
		{"truncated headers", "--XX\r\nContent-Disposition: form-data", ""},
		{"line feeds only", strings.ReplaceAll(good, "\r\n", "\n"), ""},
		{"a boundary behind a line feed", buildForm(model, formText("x", "aaaa\n--XX\r\n"+formText("y", "z"))), ""},
		{"a boundary within a line", buildForm(model, formText("x", "a--XX")), ""},
		{"another boundary that starts alike", buildForm(model, formText("x", "\r\n--XXY\r\n")), ""},
		{"a boundary in the headers", buildForm("X: --XX\r\n" + model), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ScanMultipart(formType, []byte(c.body))
			if err == nil {
				t.Fatalf("taken: %+v", r)
			}
			if err.Kind != wire.KindBadRequest || err.Param != c.param || strings.Contains(err.Message, "canary") {
				t.Errorf("got %d %q, param %q, want param %q", err.StatusCode(), err.Message, err.Param, c.param)
			}
		})
	}
}

func TestContentTypesOfForms(t *testing.T) {
	for contentType, want := range map[string]int{
		"":                                   415,
		"application/json":                   415,
		"multipart/mixed; boundary=XX":       415,
		"multipart/form-data-x; boundary=XX": 415,
		"multipart/form-data":                400,
		"multipart/form-data; boundary=":     400,
		"multipart/form-data; boundary=XX; boundary=YY":                   415,
		"multipart/form-data; boundary*0=X; boundary*1=X":                 400,
		"multipart/form-data; boundary*=UTF-8''XX":                        400,
		`multipart/form-data; boundary="X\X"`:                             400,
		`multipart/form-data; boundary="X X"`:                             400,
		`multipart/form-data; boundary="XX "`:                             400,
		"multipart/form-data; boundary=XX; charset=utf-16":                400,
		"multipart/form-data; boundary=XX; x=y":                           400,
		"multipart/form-data; boundary=" + strings.Repeat("X", 71):        400,
		"multipart/form-data; boundary=" + strings.Repeat("X", 1<<20):     400,
		"multipart/form-data; boundary=XX":                                0,
		`Multipart/Form-Data; charset=UTF-8; boundary="XX"`:               0,
		"multipart/form-data; boundary=X\u00e9":                           400,
		`multipart/form-data; boundary="----=_Part_1.2'()+_,-./:=?"`:      400, // the form uses another boundary
		"multipart/form-data; boundary=" + strings.Repeat("X", 70) + "  ": 400, // likewise
	} {
		_, err := ScanMultipart(contentType, []byte(buildForm(formText("model", "m"))))
		got := 0
		if err != nil {
			got = err.StatusCode()
		}
		if got != want {
			t.Errorf("%.80q: got %d (%v), want %d", contentType, got, err, want)
		}
	}
}

func TestFormsAreEditedInPlace(t *testing.T) {
	body := []byte(buildForm(formFile, formText("max_completion_tokens", "900"), formText("model", "m"), formText("n", "2")))
	r, err := ScanMultipart(formType, body)
	if err != nil {
		t.Fatal(err)
	}
	got := r.Edit(body, Edit{Model: "org/\"x\"", Cap: 7, CapName: "max_tokens", IncludeUsage: true})
	want := buildForm(formFile, formText("max_completion_tokens", "7"), formText("model", "")+`org/"x"`, formText("n", "2"))
	if string(got.Bytes()) != want {
		t.Errorf("\n got %q\nwant %q", got.Bytes(), want)
	}
	if got := r.Edit(body, Edit{Cap: -1}).Bytes(); !bytes.Equal(got, body) {
		t.Errorf("changed without an edit: %q", got)
	}
}

func TestFormsAsClientsWriteThem(t *testing.T) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	file, err := w.CreateFormFile("file", "speech of the day.mp3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(bytes.Repeat([]byte{0, 13, 10, '-', '-'}, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.WriteField("model", "whisper-1"), w.WriteField("stream", "true"), w.Close()); err != nil {
		t.Fatal(err)
	}
	r, scanErr := ScanMultipart(w.FormDataContentType(), b.Bytes())
	if scanErr != nil {
		t.Fatal(scanErr)
	}
	if r.Model != "whisper-1" || !r.Stream || r.Images != 1 {
		t.Errorf("got %+v", r)
	}
}

// FuzzScanMultipart checks that Go's own parser accepts every form that the gate
// accepts, and reads the same values.
func FuzzScanMultipart(f *testing.F) {
	f.Add(formType, []byte(buildForm(formFile, formText("model", "m"), formText("stream", "true"))))
	f.Add(formType, []byte(buildForm(formText("n", "2"), formText("model", "m"), formText("x", "\n--X"))))
	f.Add(`multipart/form-data; boundary="a=b"`, []byte("--a=b\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--a=b--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r, scanErr := ScanMultipart(contentType, body)
		if scanErr != nil {
			return
		}
		_, params, err := mime.ParseMediaType(contentType)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string][]string{}
		files := int64(0)
		reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for {
			part, err := reader.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("Go refuses what was taken: %v: %q", err, body)
			}
			content, err := io.ReadAll(part)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(part.Header.Get("Content-Disposition"), "filename") {
				files++
				continue
			}
			name := strings.ToLower(part.FormName())
			values[name] = append(values[name], string(content))
		}
		if len(values["model"]) != 1 || values["model"][0] != r.Model || len(values["stream"]) > 1 || len(values["n"]) > 1 || files < r.Images {
			t.Fatalf("scanned %+v, Go read %q and %d files", r, values, files)
		}
		if stream := values["stream"]; len(stream) == 1 && isTrue(stream[0]) != r.Stream {
			t.Fatalf("scanned %+v, Go read %q", r, values)
		}
		edited := r.Edit(body, Edit{Model: "another", Cap: -1}).Bytes()
		again, scanErr := ScanMultipart(contentType, edited)
		if scanErr != nil || again.Model != "another" {
			t.Fatalf("the edited form is read as %+v, %v", again, scanErr)
		}
	})
}

func isTrue(text string) bool {
	value, ok := parseFormBool([]byte(text))
	return ok && value
}
