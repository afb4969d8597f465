package wire

import (
	"testing"
	"time"
)

func TestModelsBodies(t *testing.T) {
	models := []Model{
		{ID: "org/a\"b", Created: time.Unix(1700000000, 0).In(time.FixedZone("", 3600)), OwnedBy: "vllm"},
		{ID: "echo"},
	}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"OpenAI's list", Models(OpenAI, models), `{"object":"list","data":[{"id":"org/a\"b","object":"model","created":1700000000,"owned_by":"vllm"},{"id":"echo","object":"model","created":0,"owned_by":""}]}`},
		{"OpenAI's empty list", Models(OpenAI, nil), `{"object":"list","data":[]}`},
		{"OpenAI's model", OneModel(OpenAI, models[0]), `{"id":"org/a\"b","object":"model","created":1700000000,"owned_by":"vllm"}`},
		{"Anthropic's list", Models(Anthropic, models), `{"data":[{"type":"model","id":"org/a\"b","display_name":"org/a\"b","created_at":"2023-11-14T22:13:20Z"},{"type":"model","id":"echo","display_name":"echo","created_at":"1970-01-01T00:00:00Z"}],"has_more":false,"first_id":"org/a\"b","last_id":"echo"}`},
		{"Anthropic's empty list", Models(Anthropic, nil), `{"data":[],"has_more":false,"first_id":null,"last_id":null}`},
		{"Anthropic's model", OneModel(Anthropic, models[1]), `{"type":"model","id":"echo","display_name":"echo","created_at":"1970-01-01T00:00:00Z"}`},
	} {
		if string(c.got) != c.want+"\n" {
			t.Errorf("%s:\n got %s\nwant %s", c.name, c.got, c.want)
		}
	}
}
