package report

import (
	"cmp"
	_ "embed" // of the page's body
	"io"
	"slices"
	"strings"
	"sync"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report/page"
)

//go:embed report.html
var body string

var parsed = sync.OnceValues(func() (*page.Page, error) { return page.New("diff", body) })

// view is what the page shows: everything is computed here, and the template only places it.
type view struct {
	diff.Report
	Tone, Head, Rest string // the verdict: SAFE TO DISCONNECT, and what follows the colon
	Partial          bool
	LeftName         string
	RightName        string
	Facts            []fact
	Legend           []term
	Entities         []entityView
	Sizes            []sizeView
	Checks           []checkView
	Terms            []definition
}

type entityView struct {
	Name, Title, Unit string
	Caption           string // of the table of columns
	Counts            diff.Counts
	Elapsed           string
	Share             string // of the left side that matched
	Sides             []sideView
	Columns           []columnView
	Different         []page.Bar
	Groups            []group
	NotCompared       []string
}

type sideView struct {
	side
	Stack page.Stack
}

type columnView struct {
	diff.Column
	ByRule int64
	Rules  []term
}

type sizeView struct {
	Title       string
	Left, Right page.Bar
}

type checkView struct {
	diff.Check
	Holds bool
}

type definition struct{ Class, Name, Text string }

// shortSide is how much of a side's name stands beside a bar; the facts have all of it.
const shortSide = 20

// HTML writes the report as one page for a browser. See package page for what it never does.
func HTML(w io.Writer, r diff.Report) error {
	p, err := parsed()
	if err != nil {
		return err
	}
	v := viewOf(r)
	return p.Render(w, v.Head+" · "+v.LeftName+" and "+v.RightName+" · haloingest diff", v)
}

func viewOf(r diff.Report) view {
	v := view{
		Report: r, Tone: tone(r.Verdict), Partial: r.Verdict == diff.VerdictPartial,
		LeftName: page.Short(r.Left, 3*shortSide), RightName: page.Short(r.Right, 3*shortSide), Facts: facts(r),
	}
	head, rest, _ := strings.Cut(r.Sentence, ": ")
	v.Head, v.Rest = page.Visible(head), page.Capital(page.Visible(rest))
	var largest int64
	for _, e := range r.Entities {
		largest = max(largest, e.Counts.Source, e.Counts.Target)
	}
	seen := map[string]bool{}
	for _, e := range r.Entities {
		ev := entityOf(r, e)
		v.Entities = append(v.Entities, ev)
		v.Sizes = append(v.Sizes, sizeView{ev.Title,
			page.NewBar("left", ev.Title+" on the left: "+page.Count(e.Counts.Source), e.Counts.Source, largest),
			page.NewBar("right", ev.Title+" on the right: "+page.Count(e.Counts.Target), e.Counts.Target, largest)})
		for _, s := range ev.Sides {
			for _, t := range s.Terms {
				if t.N > 0 {
					seen[t.Class] = true
				}
			}
		}
	}
	for _, d := range definitions {
		if seen[d.Class] {
			v.Legend = append(v.Legend, term{Class: d.Class, Label: d.Name})
		}
	}
	v.Terms = definitions
	for _, c := range r.Checks {
		v.Checks = append(v.Checks, checkView{c, c.Want == c.Got})
	}
	return v
}

// definitions say what the words mean, in the order of the law's terms.
var definitions = []definition{
	{"matched", "matched", "The same on both sides. Some are equal through a named rule only, such as a contact that shares its row with another of the same person; they are counted apart."},
	{"changed", "changed", "On both sides, with a column that differs."},
	{"missing", "missing", "On the left side and not on the right."},
	{"extra", "extra", "On the right side and not on the left."},
	{"rejected", "rejected", "On one side; on the other it could not be loaded and is kept as a reject, with the reason."},
	{"excluded", "excluded", "Left out by a named rule."},
	{"in_flight", "in flight", "Changed while it was compared, or since the left side was made, and that is all that differs."},
	{"unresolved", "unresolved", "It kept changing, or could not be read again, so nothing is known of it."},
}

func entityOf(r diff.Report, e diff.Entity) entityView {
	c := e.Counts
	v := entityView{Name: page.Visible(e.Name), Title: title(e.Name), Counts: c, Groups: groups(e), Share: page.Share(c.Matched, c.Source)}
	if e.Elapsed > 0 {
		v.Elapsed = page.Span(e.Elapsed)
	}
	v.Unit = "objects"
	v.Caption = "Columns of an object that is equal as a whole count as equal."
	if r.Level == diff.LevelFast {
		v.Caption = "Most objects were compared by their version or stored hash only; the other columns are those of objects that were looked at."
	}
	if e.Name == "knowledge" {
		v.Unit = "conversations with knowledge"
	}
	scale := max(c.Source, c.Target)
	for _, side := range sidesOf(r, e) {
		v.Sides = append(v.Sides, sideOf(side, scale))
	}
	var most int64
	for _, col := range e.Columns {
		if col.NotCompared != "" && r.Level != diff.LevelCount {
			v.NotCompared = append(v.NotCompared, page.Visible(col.Name)+" ("+page.Visible(col.NotCompared)+")")
		}
	}
	for _, col := range comparedColumns(r, e) {
		cv := columnView{Column: col}
		cv.Name = page.Visible(col.Name)
		for _, t := range named("", col.EqualByRule) {
			t.Label = strings.TrimPrefix(t.Label, ": ")
			cv.ByRule += t.N
			cv.Rules = append(cv.Rules, t)
		}
		v.Columns = append(v.Columns, cv)
		most = max(most, col.Different)
	}
	for _, col := range v.Columns {
		if col.Different > 0 {
			v.Different = append(v.Different, page.NewBar("changed", col.Name+": "+page.Count(col.Different)+" different", col.Different, most))
			v.Different[len(v.Different)-1].Name = col.Name
		}
	}
	slices.SortStableFunc(v.Different, func(a, b page.Bar) int { return cmp.Compare(b.N, a.N) })
	return v
}

func sideOf(s side, scale int64) sideView {
	s.Name = page.Short(s.Name, shortSide)
	var parts []page.Part
	for _, t := range s.Terms {
		parts = append(parts, page.Part(t))
	}
	return sideView{s, page.NewStack(s.Name, scale, parts...)}
}

// Place says where a cell is.
func (g group) Place(c diff.Cell) string { return place(c) }

// Described says of a finding why it is one.
func (g group) Described(f diff.Finding) string { return page.Capital(described(f)) }
