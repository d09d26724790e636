package report

import (
	"maps"
	"slices"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report/page"
)

// term is one term of a conservation law.
type term struct {
	Class string // of the style: matched, or a diff.Class
	Label string
	N     int64
}

// leftTerms is what the left side's objects came to, the terms that are zero left out but for what matched.
func leftTerms(c diff.Counts) []term {
	terms := []term{{"matched", "matched", c.Matched}, {"changed", "changed", c.Changed}, {"missing", "missing", c.Missing}}
	terms = append(terms, named("rejected", c.Rejected)...)
	terms = append(terms, named("excluded", c.Excluded)...)
	return nonZero(append(terms, term{"in_flight", "in flight", c.InFlight}, term{"unresolved", "unresolved", c.Unresolved}))
}

// rightTerms is what the right side's objects came to.
func rightTerms(c diff.Counts) []term {
	terms := []term{{"matched", "matched", c.Matched}, {"changed", "changed", c.Changed}, {"extra", "extra", c.Extra}}
	terms = append(terms, named("rejected", c.RejectedTarget)...)
	terms = append(terms, named("excluded", c.ExcludedTarget)...)
	return nonZero(append(terms, term{"in_flight", "in flight", c.InFlightTarget}, term{"unresolved", "unresolved", c.UnresolvedTarget}))
}

func named(class string, counts map[string]int64) []term {
	var terms []term
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		terms = append(terms, term{class, class + ": " + page.Visible(name), counts[name]})
	}
	return terms
}

// nonZero keeps the first term, matched, in any case.
func nonZero(terms []term) []term {
	return append(terms[:1], slices.DeleteFunc(terms[1:], func(t term) bool { return t.N == 0 })...)
}

// side is one side of an entity's law.
type side struct {
	Name  string
	Total int64
	Terms []term
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
	left := side{Name: r.Left, Total: e.Counts.Source, Terms: leftTerms(e.Counts), Partial: e.Partial}
	right := side{Name: r.Right, Total: e.Counts.Target, Terms: rightTerms(e.Counts), Partial: e.Partial}
	left.Sum, right.Sum = add(left.Terms), add(right.Terms)
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

// add adds the terms.
func add(terms []term) int64 {
	var n int64
	for _, t := range terms {
		n += t.N
	}
	return n
}
