package usage

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteCSV writes the page as CSV (RFC 4180) with a header line: start_time and
// end_time in unix seconds, then the columns of a result under their names in
// JSON, a line for each result. What is null in JSON is empty. CSV has no place
// for NextPage: whoever sends the page puts it in a header.
//
// Model names are what callers say, and a spreadsheet takes a cell that begins
// like a formula for one: such a name is written behind an apostrophe (OWASP,
// "CSV Injection").
func (p *Page) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	line := []string{"start_time", "end_time"}
	for _, d := range dimensions {
		line = append(line, string(d))
	}
	for _, c := range numbers {
		line = append(line, c.name)
	}
	_ = out.Write(append(line, "cost_usd")) // Error tells
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
	// The first character that shows counts, as programs trim cells; a tab or
	// a line break at the beginning starts a formula by itself in some.
	if shown := strings.TrimLeft(*label, " "); shown != "" && strings.ContainsRune("=+-@\t\r\n", rune(shown[0])) {
		return "'" + *label
	}
	return *label
}
