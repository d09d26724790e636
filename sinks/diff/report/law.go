package report

import (
	"maps"
	"slices"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report/page"
)

// Term is one term of a conservation law.
type Term struct {
	Class string // of the style: matched, or a diff.Class
	Label string
	N     int64
}

// Left is what the left side's objects came to, the terms that are zero left out but for what matched.
func Left(c diff.Counts) []Term {
	terms := []Term{{"matched", "matched", c.Matched}, {"changed", "changed", c.Changed}, {"missing", "missing", c.Missing}}
	terms = append(terms, named("rejected", c.Rejected)...)
	terms = append(terms, named("excluded", c.Excluded)...)
	return nonZero(append(terms, Term{"in_flight", "in flight", c.InFlight}, Term{"unresolved", "unresolved", c.Unresolved}))
}

// Right is what the right side's objects came to.
func Right(c diff.Counts) []Term {
	return nonZero([]Term{
		{"matched", "matched", c.Matched}, {"changed", "changed", c.Changed}, {"extra", "extra", c.Extra},
		{"in_flight", "in flight", c.InFlightTarget}, {"unresolved", "unresolved", c.UnresolvedTarget},
	})
}

func named(class string, counts map[string]int64) []Term {
	var terms []Term
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		terms = append(terms, Term{class, class + ": " + page.Visible(name), counts[name]})
	}
	return terms
}

// nonZero keeps the first term, matched, in any case.
func nonZero(terms []Term) []Term {
	return append(terms[:1], slices.DeleteFunc(terms[1:], func(t Term) bool { return t.N == 0 })...)
}

// side is one side of an entity's law.
type side struct {
	Name  string
	Total int64
	Terms []Term
	Sum   int64
	// Partial says that not all that was read was compared, so nothing has to add up yet.
	Partial bool
}

// Holds reports whether the side adds up, as far as it has to.
func (s side) Holds() bool { return s.Partial || s.Sum == s.Total }

// Sign is what stands between the total and the terms.
func (s side) Sign() string {
	switch {
	case s.Sum == s.Total:
		return "="
	case s.Partial:
		return "read, of which were compared:"
	}
	return "IS NOT"
}

func sidesOf(r diff.Report, e diff.Entity) [2]side {
	left := side{Name: r.Left, Total: e.Counts.Source, Terms: Left(e.Counts), Partial: e.Partial}
	right := side{Name: r.Right, Total: e.Counts.Target, Terms: Right(e.Counts), Partial: e.Partial}
	left.Sum, right.Sum = Sum(left.Terms), Sum(right.Terms)
	return [2]side{left, right}
}

// tone is how a verdict looks: good, bad, or open.
func tone(v diff.Verdict) string {
	switch v {
	case diff.VerdictEqual:
		return "good"
	case diff.VerdictPartial, diff.VerdictUnverified:
		return "open"
	}
	return "bad"
}

// Sum adds the terms.
func Sum(terms []Term) int64 {
	var n int64
	for _, t := range terms {
		n += t.N
	}
	return n
}
