package request

import "testing"

func TestLoneSurrogatesAreReplaced(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":"\ud83d"}`:             `{"a":"\ufffd"}`,
		`{"a":"\uDE00 b"}`:           `{"a":"\ufffd b"}`,
		`{"\ud83d":1}`:               `{"\ufffd":1}`,
		`{"a":"\ud83d\ud83d\ude00"}`: `{"a":"\ufffd\ud83d\ude00"}`,
		`{"a":"\ud83d\ude00\ude00"}`: `{"a":"\ud83d\ude00\ufffd"}`,
		`{"a":"\ud83d\n"}`:           `{"a":"\ufffd\n"}`,
		`{"a":"\\ud83d"}`:            `{"a":"\\ud83d"}`,
		`{"a":"\\\ud83d"}`:           `{"a":"\\\ufffd"}`,
		`{"a":"\ud83d\ude00"}`:       `{"a":"\ud83d\ude00"}`,
		`{"a":"\u00e9\"ud83d"}`:      `{"a":"\u00e9\"ud83d"}`,
		`\`:                          `\`,
		`\u`:                         `\u`,
		`\ud83`:                      `\ud83`,
	} {
		got := []byte(body)
		if found := ReplaceSurrogates(got); string(got) != want || found != (body != want) {
			t.Errorf("%s: got %s, %t, want %s", body, got, found, want)
		}
	}
}
