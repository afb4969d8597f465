package usage

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func somePage() *Page {
	name := func(s string) *string { return &s }
	cost, next := USD(1_500_000), "token"
	return &Page{Object: "page", HasMore: true, NextPage: &next, Data: []Bucket{
		{Object: "bucket", StartTime: 0, EndTime: 86400, Results: []Result{}},
		{Object: "bucket", StartTime: 86400, EndTime: 172800, Results: []Result{
			{Object: "usage.result", Key: name(`a"b`), Model: name("=1+1"), Requests: 10, Errors: 9, InputTokens: 8, CachedTokens: 7, CacheWriteTokens: 6,
				OutputTokens: 5, ReasoningTokens: 4, EstimatedRequests: 3, UnpricedRequests: 2, CostUSD: &cost},
			{Object: "usage.result", Team: name(""), Backend: name("b,c"), Endpoint: name("chat"), Requests: 1, UnpricedRequests: 1},
		}},
	}}
}

func TestPageAsJSON(t *testing.T) {
	const want = `{"object":"page","data":[{"object":"bucket","start_time":0,"end_time":86400,"results":[]},` +
		`{"object":"bucket","start_time":86400,"end_time":172800,"results":[` +
		`{"object":"usage.result","key":"a\"b","team":null,"model":"=1+1","backend":null,"endpoint":null,"requests":10,"errors":9,"input_tokens":8,` +
		`"input_cached_tokens":7,"input_cache_write_tokens":6,"output_tokens":5,"reasoning_tokens":4,"estimated_requests":3,"unpriced_requests":2,"cost_usd":0.0015},` +
		`{"object":"usage.result","key":null,"team":"","model":null,"backend":"b,c","endpoint":"chat","requests":1,"errors":0,"input_tokens":0,` +
		`"input_cached_tokens":0,"input_cache_write_tokens":0,"output_tokens":0,"reasoning_tokens":0,"estimated_requests":0,"unpriced_requests":1,"cost_usd":null}]}],` +
		`"has_more":true,"next_page":"token"}`
	page := somePage()
	var written bytes.Buffer
	if err := page.WriteJSON(&written); err != nil || written.String() != want {
		t.Errorf("written as\n%s, %v\nwant\n%s", written.String(), err, want)
	}
	marshalled, err := json.Marshal(page)
	if err != nil || string(marshalled) != want {
		t.Errorf("marshalled as\n%s, %v\nwant\n%s", marshalled, err, want)
	}
	// The struct tags must agree, for clients that decode a page.
	var again Page
	if err := json.Unmarshal(marshalled, &again); err != nil || !reflect.DeepEqual(&again, page) {
		t.Errorf("read again as %+v, %v", again, err)
	}
	empty, _ := json.Marshal(&Page{Object: "page"})
	if string(empty) != `{"object":"page","data":[],"has_more":false,"next_page":null}` {
		t.Errorf("an empty page is %s", empty)
	}
}

func TestPageAsCSV(t *testing.T) {
	var b bytes.Buffer
	if err := somePage().WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	const want = `start_time,end_time,key,team,model,backend,endpoint,requests,errors,input_tokens,input_cached_tokens,input_cache_write_tokens,output_tokens,reasoning_tokens,estimated_requests,unpriced_requests,cost_usd
86400,172800,"a""b",,'=1+1,,,10,9,8,7,6,5,4,3,2,0.0015
86400,172800,,,,"b,c",chat,1,0,0,0,0,0,0,0,1,
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestCellsAreNoFormulas(t *testing.T) {
	for name, want := range map[string]string{
		"gpt-4": "gpt-4", "a=b": "a=b", "": "", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "\r=1": "'\r=1", "\n1": "'\n1", "  =1": "'  =1", " a": " a",
	} {
		if got := cell(&name); got != want {
			t.Errorf("%q is written as %q, want %q", name, got, want)
		}
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestPageTellsWriteErrors(t *testing.T) {
	page := somePage()
	long := strings.Repeat("x", 2*flushSize)
	page.Data[1].Results[0].Key = &long
	if err := page.WriteJSON(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("JSON: %v", err)
	}
	if err := page.WriteCSV(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("CSV: %v", err)
	}
}
