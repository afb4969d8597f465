package pricing

import (
	"os"
	"testing"
	"time"
)

func TestFilesAreReadAgain(t *testing.T) {
	path := priceFile(t, "prices.json", `{"m": {"input_cost_per_token": 1e-06}}`)
	now := time.Now()
	p, err := OpenFiles([]string{path}, now)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour)
	if _, err := p.Refresh(now); err != nil { // it was recent when it was read, so it is read again
		t.Fatal(err)
	}
	if changed, err := p.Refresh(now); changed || err != nil {
		t.Fatal(changed, err)
	}
	write(`{"m": {"input_cost_per_token": 2e-06}}`, now.Add(-time.Minute))
	if changed, err := p.Refresh(now); !changed || err != nil || p.List().prices["m"].Input != 2_000_000 {
		t.Fatal(changed, err)
	}
	write(`{"m": {"input_cost_per_token": 3e-0`, now.Add(-time.Second))
	if changed, err := p.Refresh(now); changed || err == nil || p.List().prices["m"].Input != 2_000_000 {
		t.Fatal(changed, err)
	}
	if changed, err := p.Refresh(now); changed || err != nil {
		t.Fatal("told twice", changed, err)
	}
	write(`{"m": {"input_cost_per_token": 3e-06}}`, now)
	if changed, err := p.Refresh(now); !changed || err != nil || p.List().prices["m"].Input != 3_000_000 {
		t.Fatal(changed, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if changed, err := p.Refresh(now); changed || err == nil || p.List().Len() != 1 {
		t.Fatal(changed, err)
	}
	var none *Files
	if none.List() != nil {
		t.Error("no files have a list")
	}
}
