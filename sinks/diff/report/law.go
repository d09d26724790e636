package report

import (
	"cmp"
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

// Sum adds the terms.
func Sum(terms []Term) int64 {
	var n int64
	for _, t := range terms {
		n += t.N
	}
	return n
}

// Holds reports whether both sides of an entity add up.
func Holds(c diff.Counts) bool {
	return Sum(Left(c)) == c.Source && Sum(Right(c)) == c.Target
}

// total is what the report as a whole came to.
type total struct {
	objects, knowledge                                    int64 // matched
	compared                                              int64 // on the left side
	missing, extra, changed, rejected, excluded, inFlight int64
	unverified                                            int64
	miscounted                                            int64    // checks that do not hold
	columns                                               []column // that differ, the most frequent first
	broken                                                []string // entities whose law does not hold
}

type column struct {
	name string
	n    int64
}

func totalOf(r diff.Report) total {
	var t total
	different := map[string]int64{}
	for _, e := range r.Entities {
		c := e.Counts
		if e.Name == "knowledge" {
			t.knowledge += c.Matched
		} else {
			t.objects += c.Matched
		}
		t.compared += c.Source
		t.missing += c.Missing
		t.extra += c.Extra
		t.changed += c.Changed
		// An object counts on each side on which it is; the greater number is how many there are at least.
		t.inFlight += max(c.InFlight, c.InFlightTarget)
		t.unverified += max(c.Unresolved, c.UnresolvedTarget)
		for _, n := range c.Rejected {
			t.rejected += n
		}
		for _, n := range c.Excluded {
			t.excluded += n
		}
		for _, col := range e.Columns {
			if col.Different > 0 {
				different[col.Name] += col.Different
			}
		}
		if !Holds(c) {
			t.broken = append(t.broken, e.Name)
		}
	}
	for _, c := range r.Checks {
		if c.Want != c.Got {
			t.miscounted++
		}
	}
	for name, n := range different {
		t.columns = append(t.columns, column{name, n})
	}
	slices.SortFunc(t.columns, func(a, b column) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.name, b.name))
	})
	return t
}
