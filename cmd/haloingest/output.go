package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"haloingest/sinks/diff/report/page"
)

// result prints what a command found out: as one JSON value with --json, else as text.
func (a *app) result(v any, text func(w io.Writer)) error {
	a.printed = true
	if !a.json {
		text(a.stdout)
		return nil
	}
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// table prints rows in columns; cells of all columns but the first that look like numbers stand right.
func table(w io.Writer, header []string, rows [][]string) {
	numeric := make([]bool, len(header))
	for i := range header {
		numeric[i] = i > 0
		for _, row := range rows {
			if i < len(row) && !looksNumeric(row[i]) {
				numeric[i] = false
			}
		}
	}
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range append([][]string{header}, rows...) {
		var line strings.Builder
		line.WriteString("  ")
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if numeric[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString("  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

func looksNumeric(s string) bool {
	return strings.Trim(s, "0123456789,.-%/ ") == ""
}

// fields prints name and value pairs under one another.
func fields(w io.Writer, pairs ...string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(tw, "  %s\t%s\n", pairs[i], pairs[i+1])
	}
	tw.Flush()
}

// count prints an integer with thousands separated.
func count[N ~int | ~int64 | ~uint64](n N) string { return page.Count(int64(n)) }

// times says how often.
func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return count(n) + " times"
}

// size prints bytes in binary units.
func size(n int64) string { return page.Size(n) }

// span prints a duration the way people say it.
func span(d time.Duration) string { return page.Span(d) }

// moment prints an instant, or a word where there is none.
func moment(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return page.Moment(t)
}
