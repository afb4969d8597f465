package usage

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteCSV writes the page as CSV (RFC 4180) with a header line and a line for
// each result: start_time and end_time in unix seconds, then the columns under
// their names in JSON. A null in JSON is an empty cell. NextPage is left out:
// the caller sends it in a header.
//
// Callers choose model names, and a spreadsheet evaluates a cell that begins
// like a formula. Such a name is prefixed with an apostrophe (OWASP, "CSV
// Injection").
func (p *Page) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	line := []string{"start_time", "end_time"}
	for _, d := range dimensions {
		line = append(line, string(d))
	}
	for _, c := range numbers {
		line = append(line, c.name)
	}
	_ = out.Write(append(line, "cost_usd")) // out.Error returns it
	for i := range p.Data {
		bucket := &p.Data[i]
		start, end := strconv.FormatInt(bucket.StartTime, 10), strconv.FormatInt(bucket.EndTime, 10)
		for j := range bucket.Results {
			r := &bucket.Results[j]
			line = append(line[:0], start, end)
			for _, label := range r.labels() {
				line = append(line, cell(label))
			}
			for _, c := range numbers {
				line = append(line, strconv.FormatInt(c.value(r), 10))
			}
			cost := ""
			if r.CostUSD != nil {
				cost = r.CostUSD.String()
			}
			_ = out.Write(append(line, cost))
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("writing a page of usage as CSV: %w", err)
	}
	return nil
}

func cell(label *string) string {
	if label == nil {
		return ""
	}
	// The first visible character counts, because programs trim cells. In some, a
	// leading tab or line break starts a formula by itself.
	if shown := strings.TrimLeft(*label, " "); shown != "" && strings.ContainsRune("=+-@\t\r\n", rune(shown[0])) {
		return "'" + *label
	}
	return *label
}
