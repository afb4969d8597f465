package usage

import (
	"reflect"
	"testing"
)

func TestTotalSumsTheBucketsOfAPage(t *testing.T) {
	label := func(s string) *string { return &s }
	usd := func(n USD) *USD { return &n }
	next := "more"
	page := &Page{Object: "page", HasMore: true, NextPage: &next, Data: []Bucket{
		{Object: "bucket", StartTime: 0, EndTime: 10, Results: []Result{
			{Key: label("b"), Requests: 1, Errors: 1, InputTokens: 2, CachedTokens: 3, CacheWriteTokens: 4, OutputTokens: 5, ReasoningTokens: 6, EstimatedRequests: 7, UnpricedRequests: 8},
			{Key: label("c"), Requests: 1, CostUSD: usd(1)},
		}},
		{Object: "bucket", StartTime: 10, EndTime: 20},
		{Object: "bucket", StartTime: 20, EndTime: 30, Results: []Result{
			{Key: label("a"), Requests: 9},
			{Key: label("b"), Requests: 1, Errors: 1, InputTokens: 2, CachedTokens: 3, CacheWriteTokens: 4, OutputTokens: 5, ReasoningTokens: 6, EstimatedRequests: 7, UnpricedRequests: 8, CostUSD: usd(5)},
			{Key: label("c"), Requests: 1, CostUSD: usd(2)},
		}},
	}}
	want := &Page{Object: "page", HasMore: true, NextPage: &next, Data: []Bucket{{Object: "bucket", StartTime: 0, EndTime: 30, Results: []Result{
		{Key: label("a"), Requests: 9},
		{Key: label("b"), Requests: 2, Errors: 2, InputTokens: 4, CachedTokens: 6, CacheWriteTokens: 8, OutputTokens: 10, ReasoningTokens: 12, EstimatedRequests: 14, UnpricedRequests: 16, CostUSD: usd(5)},
		{Key: label("c"), Requests: 2, CostUSD: usd(3)},
	}}}}
	if got := page.Total(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got.Data, want.Data)
	}
	if *page.Data[0].Results[1].CostUSD != 1 {
		t.Error("the page was changed")
	}
	if got := (&Page{Object: "page"}).Total(); len(got.Data) != 0 {
		t.Errorf("%+v", got)
	}
}
