package command

import (
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/amanycodes/pine-gate/usage"
)

// writeUsageTable prints a page as a table: a line for each result, with the
// time if there are buckets, and the total at the end.
func writeUsageTable(w io.Writer, page *usage.Page, groupBy []string, bucket usage.Width) error {
	t := &table{}
	layout := map[usage.Width]string{
		usage.Minute: "2006-01-02 15:04", usage.Hour: "2006-01-02 15:04", usage.Day: time.DateOnly, usage.Month: "2006-01",
	}[bucket]
	var head []string
	if layout != "" {
		head = append(head, "TIME (UTC)")
	}
	for _, dimension := range groupBy {
		head = append(head, strings.ToUpper(dimension))
	}
	t.left = len(head)
	t.add(append(head, "REQUESTS", "ERRORS", "INPUT", "CACHED", "OUTPUT", "ESTIMATED", "UNPRICED", "COST USD"))

	var sum usage.Result
	lines := 0
	for _, b := range page.Data {
		for _, r := range b.Results {
			var line []string
			if layout != "" {
				line = append(line, time.Unix(b.StartTime, 0).UTC().Format(layout))
			}
			for _, dimension := range groupBy {
				line = append(line, labelOf(&r, usage.Dimension(dimension)))
			}
			t.add(append(line, figures(&r)...))
			sum = sum.Sum(r)
			lines++
		}
	}
	if lines == 0 {
		_, err := io.WriteString(w, "Nothing was used.\n")
		return err
	}
	if lines > 1 && t.left > 0 {
		line := make([]string, t.left)
		line[0] = "total"
		t.add(append(line, figures(&sum)...))
	}
	return t.write(w)
}

// figures returns the cells with the numbers of a line.
func figures(r *usage.Result) []string {
	cost := "-"
	if r.CostUSD != nil {
		cost = r.CostUSD.String()
	}
	return []string{
		humanize.Comma(r.Requests), humanize.Comma(r.Errors), humanize.Comma(r.InputTokens), humanize.Comma(r.CachedTokens),
		humanize.Comma(r.OutputTokens), humanize.Comma(r.EstimatedRequests), humanize.Comma(r.UnpricedRequests), cost,
	}
}

// labelOf returns a label that is safe for a terminal, because callers choose
// the names of models.
func labelOf(r *usage.Result, dimension usage.Dimension) string {
	var label *string
	switch dimension {
	case usage.ByKey:
		label = r.Key
	case usage.ByTeam:
		label = r.Team
	case usage.ByModel:
		label = r.Model
	case usage.ByBackend:
		label = r.Backend
	case usage.ByEndpoint:
		label = r.Endpoint
	}
	if label == nil || *label == "" {
		return "-"
	}
	return printable(*label)
}

// printable returns text without the characters that control a terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return utf8.RuneError
		}
		return c
	}, text)
}

// table prints rows of cells in columns. The first left columns are
// left-aligned.
type table struct {
	left   int
	lines  [][]string
	widths []int
}

func (t *table) add(line []string) {
	t.lines = append(t.lines, line)
	t.widths = slices.Grow(t.widths, len(line))[:max(len(t.widths), len(line))]
	for i, cell := range line {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
	}
}

func (t *table) write(w io.Writer) error {
	var b strings.Builder
	for _, line := range t.lines {
		for i, cell := range line {
			padding := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				b.WriteString("  ")
			}
			if i < t.left {
				b.WriteString(cell + padding)
			} else {
				b.WriteString(padding + cell)
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
