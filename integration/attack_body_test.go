package integration

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
)

const badRequest = "400 invalid_request_error null "

// messages is the rest of a chat's body.
const messages = `"messages":[{"role":"user","content":"` + promptCanary + `"}]`

func TestBadBodiesAreRefused(t *testing.T) {
	v := attack(t, setup{gate: "max_body 1MB"})
	deep := strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)
	utf16 := func(s string) string {
		var b strings.Builder
		for _, c := range s {
			b.WriteByte(byte(c))
			b.WriteByte(0)
		}
		return b.String()
	}
	model := `{"model":"m",` + messages
	for name, c := range map[string]struct{ body, param string }{
		"empty object":                   {`{}`, "model"},
		"array":                          {`[]`, "null"},
		"array around":                   {`[` + model + `}]`, "null"},
		"null":                           {`null`, "null"},
		"string":                         {`"m"`, "null"},
		"number":                         {`1`, "null"},
		"blank":                          {"  ", "null"},
		"byte order mark":                {"\ufeff" + model + `}`, "null"},
		"UTF-16":                         {"\xff\xfe" + utf16(model+`}`), "null"},
		"UTF-16 without a mark":          {utf16(model + `}`), "null"},
		"NUL behind":                     {model + "}\x00", "null"},
		"NUL in a string":                {strings.Replace(model, "user", "us\x00er", 1) + `}`, "null"},
		"line break in a string":         {strings.Replace(model, "user", "us\ner", 1) + `}`, "null"},
		"invalid UTF-8":                  {strings.Replace(model, "user", "us\xffer", 1) + `}`, "null"},
		"overlong UTF-8":                 {strings.Replace(model, "user", "us\xc0\xaeer", 1) + `}`, "null"},
		"encoded surrogate":              {strings.Replace(model, "user", "us\xed\xa0\x80er", 1) + `}`, "null"},
		"two objects":                    {model + `}{"model":"other"}`, "null"},
		"text behind":                    {model + `} x`, "null"},
		"comma at the end":               {model + `,}`, "null"},
		"comment":                        {model + `/* ,"model":"other" */}`, "null"},
		"line comment":                   {model + "// \n}", "null"},
		"single quotes":                  {strings.ReplaceAll(model+`}`, `"`, `'`), "null"},
		"no quotes":                      {`{model:"m"}`, "null"},
		"NaN":                            {model + `,"temperature":NaN}`, "null"},
		"cut":                            {model, "null"},
		"cut in a string":                {`{"model":"m`, "null"},
		"leading zero":                   {model + `,"seed":01}`, "null"},
		"too deep":                       {model + `,"a":` + deep + `}`, "null"},
		"too deep in messages":           {`{"model":"m","messages":` + deep + `}`, "null"},
		"too deep, never closed":         {`{"model":"m","messages":` + strings.Repeat(`[{"a":`, 50_000), "null"},
		"no model":                       {`{` + messages + `}`, "model"},
		"model null":                     {`{"model":null,` + messages + `}`, "model"},
		"model empty":                    {`{"model":"",` + messages + `}`, "model"},
		"model a number":                 {`{"model":1,` + messages + `}`, "model"},
		"model an array":                 {`{"model":["m"],` + messages + `}`, "model"},
		"model an object":                {`{"model":{"id":"m"},` + messages + `}`, "model"},
		"model too long":                 {`{"model":"` + strings.Repeat("m", 257) + `",` + messages + `}`, "model"},
		"model of megabytes":             {`{"model":"` + strings.Repeat("m", 900_000) + `",` + messages + `}`, "model"},
		"model with a line break":        {`{"model":"m\n{\"level\":\"error\"}",` + messages + `}`, "model"},
		"model with CR LF":               {`{"model":"m\r\nSet-Cookie: a=b",` + messages + `}`, "model"},
		"model with ANSI":                {`{"model":"\u001b[31mm",` + messages + `}`, "model"},
		"model with NUL":                 {`{"model":"m\u0000",` + messages + `}`, "model"},
		"model with a C1 control":        {`{"model":"m\u009b31m",` + messages + `}`, "model"},
		"model with Unicode's own break": {`{"model":"m\u2028",` + messages + `}`, "model"},
		"model twice":                    {model + `,"model":"other"}`, "model"},
		"model twice, alike":             {model + `,"model":"m"}`, "model"},
		"model twice, once null":         {model + `,"model":null}`, "model"},
		"model twice, escaped":           {model + `,"\u006dodel":"other"}`, "model"},
		"Model beside model":             {model + `,"Model":"other"}`, "model"},
		"Model alone":                    {`{"Model":"m",` + messages + `}`, "model"},
		"escaped capital":                {`{"\u004dodel":"m",` + messages + `}`, "model"},
		"stream, case-folded":            {model + `,"Stream":true}`, "stream"},
		"long s":                         {model + `,"ſtream":true}`, "stream"},
		"long s, escaped":                {model + `,"\u017ftream":true}`, "stream"},
		"Kelvin sign":                    {model + `,"max_toKens":1}`, "max_tokens"},
		"Kelvin sign, escaped":           {model + `,"max_to\u212aens":1}`, "max_tokens"},
		"messages twice":                 {model + `,` + messages + `}`, "messages"},
		"stream twice":                   {model + `,"stream":false,"stream":true}`, "stream"},
		"stream a string":                {model + `,"stream":"true"}`, "stream"},
		"stream a number":                {model + `,"stream":1}`, "stream"},
		"stream_options a boolean":       {model + `,"stream_options":true}`, "stream_options"},
		"option twice":                   {model + `,"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}`, "stream_options.include_usage"},
		"option, case-folded":            {model + `,"stream":true,"stream_options":{"Include_Usage":false}}`, "stream_options.include_usage"},
		"option a string":                {model + `,"stream":true,"stream_options":{"include_usage":"no"}}`, "stream_options.include_usage"},
		"cap minus zero":                 {model + `,"max_tokens":-0}`, "max_tokens"},
		"cap a fraction":                 {model + `,"max_tokens":1.5}`, "max_tokens"},
		"cap infinite":                   {model + `,"max_tokens":1e400}`, "max_tokens"},
		"cap with an exponent":           {model + `,"max_completion_tokens":1e3}`, "max_completion_tokens"},
		"cap a string":                   {model + `,"max_tokens":"9"}`, "max_tokens"},
		"cap of 2^63":                    {model + `,"max_tokens":9223372036854775808}`, "max_tokens"},
		"cap of 2^64":                    {model + `,"max_output_tokens":18446744073709551617}`, "max_output_tokens"},
		"cap an array":                   {model + `,"max_tokens":[1]}`, "max_tokens"},
		"cap twice":                      {model + `,"max_tokens":1,"max_tokens":100000}`, "max_tokens"},
		"n negative":                     {model + `,"n":-5}`, "n"},
		"n zero":                         {model + `,"n":0}`, "n"},
		"n huge":                         {model + `,"n":10001}`, "n"},
		"best_of a fraction":             {model + `,"best_of":2.0}`, "best_of"},
	} {
		t.Run(name, func(t *testing.T) {
			v.unseen(t, func() {
				if got := refusal(t, v.ask("POST", "/v1/chat/completions", callerKey, c.body)); got != badRequest+c.param {
					t.Errorf("got %s", got)
				}
				if got := refusal(t, v.ask("POST", "/v1/messages", callerKey, c.body)); got != "anthropic 400 invalid_request_error" {
					t.Errorf("as messages: %s", got)
				}
			})
		})
	}
	t.Run("nothing", func(t *testing.T) {
		v.unseen(t, func() {
			if got := refusal(t, v.ask("POST", "/v1/chat/completions", callerKey, "", "Content-Type", "application/json")); got != badRequest+"null" {
				t.Error(got)
			}
		})
	})
	t.Run("background", func(t *testing.T) {
		v.unseen(t, func() {
			if got := refusal(t, v.ask("POST", "/v1/responses", callerKey, `{"model":"m","input":"x","background":true}`)); got != badRequest+"background" {
				t.Error(got)
			}
		})
	})
}

func TestContentTypesAndEncodingsAreChecked(t *testing.T) {
	v := attack(t, setup{gate: "max_body 1MB"})
	body := chatBody("m", promptCanary)
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, _ = zip.Write(make([]byte, 50_000_000))
	_ = zip.Close()
	const want = "415 invalid_request_error null null"
	for name, header := range map[string][]string{
		"text/plain":              {"Content-Type: text/plain"},
		"no type":                 {"X: y"},
		"form":                    {"Content-Type: application/x-www-form-urlencoded"},
		"multipart":               {"Content-Type: multipart/form-data; boundary=x"},
		"UTF-16":                  {"Content-Type: application/json; charset=utf-16"},
		"JSON lines":              {"Content-Type: application/jsonl"},
		"two types":               {"Content-Type: application/json, text/plain"},
		"two type lines":          {"Content-Type: application/json", "Content-Type: application/json"},
		"type with a broken tail": {"Content-Type: application/json; charset"},
		"gzip":                    {"Content-Type: application/json", "Content-Encoding: gzip"},
		"GZIP":                    {"Content-Type: application/json", "Content-Encoding: GZip"},
		"br":                      {"Content-Type: application/json", "Content-Encoding: br"},
		"zstd":                    {"Content-Type: application/json", "Content-Encoding: zstd"},
		"identity, gzip":          {"Content-Type: application/json", "Content-Encoding: identity, gzip"},
		"two encoding lines":      {"Content-Type: application/json", "Content-Encoding: identity", "Content-Encoding: gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			v.unseen(t, func() {
				for _, content := range []string{body, bomb.String()} {
					header := append(header, bearerKey, fmt.Sprintf("Content-Length: %d", len(content)))
					if got := refusal(t, v.rawOne(t, request(chatLine, "", header...)+content)); got != want {
						t.Error(got)
					}
				}
			})
		})
	}
	for _, header := range []string{"application/json", "application/json;charset=UTF-8", "Application/JSON ; charset=utf-8", "application/json; profile=x"} {
		text := request(chatLine, "", bearerKey, "Content-Type: "+header, "Content-Encoding: identity", fmt.Sprintf("Content-Length: %d", len(body))) + body
		if a := v.rawOne(t, text); a.status != 200 {
			t.Errorf("%s: %d %s", header, a.status, a.body)
		}
	}
	t.Run("forms", func(t *testing.T) {
		form := func(boundary, body string) string {
			return request("POST /v1/audio/transcriptions", "", bearerKey, "Content-Type: multipart/form-data; boundary="+boundary, fmt.Sprintf("Content-Length: %d", len(body))) + body
		}
		part := func(name, value string) string {
			return "--b\r\nContent-Disposition: form-data; name=" + name + "\r\n\r\n" + value + "\r\n"
		}
		v.unseen(t, func() {
			for name, c := range map[string]struct{ text, want string }{
				"JSON":               {request("POST /v1/audio/transcriptions", body, bearerKey), want},
				"huge boundary":      {form(strings.Repeat("b", 10_000), "--b--"), badRequest + "null"},
				"no boundary":        {form("", "--b--"), want},
				"model twice":        {form("b", part(`"model"`, "m")+part(`"model"`, "other")+"--b--\r\n"), badRequest + "model"},
				"model in two cases": {form("b", part(`"model"`, "m")+part(`"Model"`, "other")+"--b--\r\n"), badRequest + "model"},
				"model as a list":    {form("b", part(`"model"`, "m")+part(`"model[]"`, "other")+"--b--\r\n"), badRequest + "model"},
				"model with a break": {form("b", part(`"model"`, "m\r\nX: y")+"--b--\r\n"), badRequest + "model"},
				"no model":           {form("b", part(`"prompt"`, "m")+"--b--\r\n"), badRequest + "model"},
				"cut":                {form("b", part(`"model"`, "m")), badRequest + "null"},
				"text in front":      {form("b", "x\r\n"+part(`"model"`, "m")+"--b--\r\n"), badRequest + "null"},
				"text behind":        {form("b", part(`"model"`, "m")+"--b--\r\n"+part(`"model"`, "other")), badRequest + "null"},
				"bare LF":            {form("b", strings.ReplaceAll(part(`"model"`, "m")+"--b--\r\n", "\r\n", "\n")), badRequest + "null"},
			} {
				if got := refusal(t, v.rawOne(t, c.text)); got != c.want {
					t.Errorf("%s: %s, want %s", name, got, c.want)
				}
			}
		})
	})
}
