package report

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report/page"
)

// titles are what people call the entities.
var titles = map[string]string{
	"companies": "Companies", "end_users": "Contacts", "transcripts": "Conversations", "tickets": "Tickets", "knowledge": "Knowledge",
}

func title(entity string) string {
	if t, ok := titles[entity]; ok {
		return t
	}
	return page.Visible(entity)
}

// Text writes the report for a terminal: the sentence of the verdict first.
func Text(w io.Writer, r diff.Report) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n", page.Visible(r.Sentence))
	for _, f := range facts(r) {
		fmt.Fprintf(&b, "  %-18s %s\n", strings.ToLower(f.Name), f.Value)
	}
	for _, e := range r.Entities {
		entityText(&b, r, e)
	}
	notCompared(&b, r)
	if len(r.Checks) > 0 {
		fmt.Fprint(&b, "\nCounted a second way\n")
		rows := [][]string{{"what", "expected", "counted", ""}}
		for _, c := range r.Checks {
			so := "equal"
			if c.Want != c.Got {
				so = "NOT EQUAL"
			}
			if c.Detail != "" {
				so += ": " + page.Visible(c.Detail)
			}
			rows = append(rows, []string{page.Visible(c.Name), page.Count(c.Want), page.Count(c.Got), so})
		}
		table(&b, rows, 1, 2)
	}
	if len(r.Notes) > 0 {
		fmt.Fprint(&b, "\nNotes\n")
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "  - %s\n", page.Visible(n))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func entityText(b *bytes.Buffer, r diff.Report, e diff.Entity) {
	fmt.Fprintf(b, "\n%s (%s)\n", title(e.Name), page.Visible(e.Name))
	sides := sidesOf(r, e)
	width := max(utf8.RuneCountInString(page.Visible(r.Left)), utf8.RuneCountInString(page.Visible(r.Right)))
	for _, side := range sides {
		law(b, side, width)
	}
	if e.Counts.ByRule > 0 {
		fmt.Fprintf(b, "  %s of the matched equal by a named rule only\n", page.Count(e.Counts.ByRule))
	}
	if e.Counts.InFlight+e.Counts.InFlightTarget > 0 {
		fmt.Fprintf(b, "  %s of those in flight equal in the end\n", page.Count(e.Counts.Converged))
	}
	if columns := comparedColumns(r, e); len(columns) > 0 {
		fmt.Fprintln(b)
		rows := [][]string{{"column", "compared", "equal", "equal by rule", "different"}}
		for _, c := range columns {
			rows = append(rows, []string{page.Visible(c.Name), page.Count(c.Compared), page.Count(c.Equal), byRule(c), page.Count(c.Different)})
		}
		table(b, rows, 1, 2, 3, 4)
	}
	for _, g := range groups(e) {
		fmt.Fprintf(b, "\n  %s: %s\n", g.Title, g.Shown)
		for _, f := range g.Findings {
			fmt.Fprintf(b, "    %s\n", headline(f))
			for _, c := range f.Cells {
				fmt.Fprintf(b, "      %s: %s | %s\n", place(c), page.Visible(c.Left), page.Visible(c.Right))
			}
		}
	}
}

// comparedColumns are those of which the report has something to say: of totals there are no columns, and stored hashes leave out
// what no object was looked at for.
func comparedColumns(r diff.Report, e diff.Entity) []diff.Column {
	var list []diff.Column
	for _, c := range e.Columns {
		if c.NotCompared == "" && r.Level != diff.LevelCount && (c.Compared > 0 || r.Level != diff.LevelFast) {
			list = append(list, c)
		}
	}
	return list
}

// notCompared names the columns that are never compared, each reason once.
func notCompared(b *bytes.Buffer, r diff.Report) {
	if r.Level == diff.LevelCount {
		return // no column is
	}
	var reasons []string
	columns := map[string][]string{}
	for _, e := range r.Entities {
		for _, c := range e.Columns {
			if c.NotCompared == "" {
				continue
			}
			if columns[c.NotCompared] == nil {
				reasons = append(reasons, c.NotCompared)
			}
			columns[c.NotCompared] = append(columns[c.NotCompared], page.Visible(e.Name)+"."+page.Visible(c.Name))
		}
	}
	if len(reasons) > 0 {
		fmt.Fprint(b, "\nNot compared\n")
	}
	for _, why := range reasons {
		fmt.Fprintf(b, "  - %s: %s\n", strings.Join(columns[why], ", "), page.Visible(why))
	}
}

func law(b *bytes.Buffer, s side, width int) {
	name := page.Visible(s.Name)
	var parts []string
	for _, t := range s.Terms {
		parts = append(parts, page.Count(t.N)+" "+t.Label)
	}
	fmt.Fprintf(b, "  %s%s  %s %s %s\n", name, strings.Repeat(" ", width-utf8.RuneCountInString(name)), page.Count(s.Total), s.Sign(), strings.Join(parts, " + "))
}

// byRule writes "12 (case ignored 10, blanks ignored 2)".
func byRule(c diff.Column) string {
	var sum int64
	var parts []string
	for _, rule := range slices.Sorted(maps.Keys(c.EqualByRule)) {
		sum += c.EqualByRule[rule]
		parts = append(parts, page.Visible(rule)+" "+page.Count(c.EqualByRule[rule]))
	}
	switch len(parts) {
	case 0:
		return "0"
	case 1:
		return strings.TrimSuffix(page.Count(sum)+" ("+parts[0], " "+page.Count(sum)) + ")"
	}
	return page.Count(sum) + " (" + strings.Join(parts, ", ") + ")"
}

// place is where a cell is: the column and, of a document, where in it the first difference is.
func place(c diff.Cell) string {
	if c.Path == "" {
		return page.Visible(c.Column)
	}
	return page.Visible(c.Column) + ", at " + page.Visible(c.Path)
}

// headline is a finding in one line.
func headline(f diff.Finding) string {
	parts := []string{page.Visible(f.SourceID)}
	if f.RowID != "" {
		parts = append(parts, "row "+page.Visible(f.RowID))
	}
	text := strings.Join(parts, ", ")
	if d := described(f); d != "" {
		text += ": " + d
	}
	return text
}

// described says why, and since when.
func described(f diff.Finding) string {
	var parts []string
	if f.Cause != "" {
		parts = append(parts, page.Visible(f.Cause))
	}
	switch {
	case !f.LeftAt.IsZero() && !f.RightAt.IsZero() && !f.LeftAt.Equal(f.RightAt):
		parts = append(parts, "updated "+page.Moment(f.LeftAt)+" on the left, "+page.Moment(f.RightAt)+" on the right")
	case !f.LeftAt.IsZero():
		parts = append(parts, "updated "+page.Moment(f.LeftAt))
	case !f.RightAt.IsZero():
		parts = append(parts, "updated "+page.Moment(f.RightAt))
	}
	if f.Rounds > 1 { // everything that is found was looked at once
		parts = append(parts, "looked at "+page.Plural(int64(f.Rounds), "more time"))
	}
	if f.Converged {
		parts = append(parts, "equal in the end")
	}
	return strings.Join(parts, "; ")
}

// table writes rows under one another; the columns named by right are set right.
func table(b *bytes.Buffer, rows [][]string, right ...int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		line := " "
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if slices.Contains(right, i) {
				line += " " + pad + cell + " "
			} else {
				line += " " + cell + pad + " "
			}
		}
		fmt.Fprintln(b, strings.TrimRight(line, " "))
	}
}

// group is the samples of one class.
type group struct {
	Class    diff.Class
	Title    string
	Shown    string // "20 of 1,234"
	Open     bool   // shown at once
	Findings []diff.Finding
}

// classes in the order in which they are shown, with what people call them.
var classes = []struct {
	class diff.Class
	title string
	open  bool
}{
	{diff.Missing, "Missing", true}, {diff.Extra, "Extra", true}, {diff.Changed, "Changed", true}, {diff.Rejected, "Rejected", true},
	{diff.Unresolved, "Unresolved", true}, {diff.InFlight, "In flight", false}, {diff.Excluded, "Excluded", false},
}

func groups(e diff.Entity) []group {
	var list []group
	for _, c := range classes {
		g := group{Class: c.class, Title: c.title, Open: c.open}
		for _, f := range e.Samples {
			if f.Class == c.class {
				g.Findings = append(g.Findings, f)
			}
		}
		if len(g.Findings) == 0 {
			continue
		}
		all := max(classTotal(e.Counts, c.class), int64(len(g.Findings)))
		g.Shown = page.Count(int64(len(g.Findings))) + " of " + page.Count(all)
		if all == int64(len(g.Findings)) {
			g.Shown = page.Count(all)
		}
		list = append(list, g)
	}
	return list
}

func classTotal(c diff.Counts, class diff.Class) int64 {
	var n int64
	switch class {
	case diff.Missing:
		n = c.Missing
	case diff.Extra:
		n = c.Extra
	case diff.Changed:
		n = c.Changed
	case diff.InFlight:
		n = max(c.InFlight, c.InFlightTarget)
	case diff.Unresolved:
		n = max(c.Unresolved, c.UnresolvedTarget)
	case diff.Rejected:
		n = total(c.Rejected) + total(c.RejectedTarget)
	case diff.Excluded:
		n = total(c.Excluded) + total(c.ExcludedTarget)
	}
	return n
}

func total(counts map[string]int64) (sum int64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// fact is a line of a report's head.
type fact struct {
	Name, Value string
	Wide, Code  bool
}

func facts(r diff.Report) []fact {
	streams := "all"
	if len(r.Only) > 0 {
		streams = page.Visible(strings.Join(r.Only, ", ")) + " only"
	}
	level := map[diff.Level]string{
		diff.LevelCount: "count: totals only",
		diff.LevelFast:  "fast: stored hashes",
		diff.LevelFull:  "full: every mapped column, hashed anew",
	}[r.Level]
	if level == "" {
		level = page.Visible(string(r.Level))
	}
	values := "redacted: length and a keyed hash"
	if r.ShowValues {
		values = "shown"
	}
	list := []fact{
		{Name: "Left", Value: page.Visible(r.Left)},
		{Name: "Right", Value: page.Visible(r.Right)},
		{Name: "Level", Value: level},
		{Name: "Streams", Value: streams},
		{Name: "Watermark", Value: page.Moment(r.Watermark)},
		{Name: "Started", Value: page.Moment(r.StartedAt)},
		{Name: "Took", Value: page.Span(r.FinishedAt.Sub(r.StartedAt))},
		{Name: "Values", Value: values},
		{Name: "Read", Value: page.Size(r.BytesRead)},
	}
	if r.Requests > 0 {
		list = append(list, fact{Name: "Asked of Intercom", Value: page.Plural(r.Requests, "request")})
	}
	if r.PeakSpill > 0 {
		list = append(list, fact{Name: "On disk meanwhile", Value: page.Size(r.PeakSpill) + " at most"})
	}
	return append(list,
		fact{Name: "Organisation", Value: r.Org.String(), Wide: true, Code: true},
		fact{Name: "Diff", Value: r.ID.String(), Wide: true, Code: true})
}
