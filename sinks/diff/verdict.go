package diff

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// finish gives the report its verdict.
func (d *run) finish(err error) {
	r := d.report
	r.FinishedAt = d.o.Now()
	for _, side := range d.sides {
		if n, ok := side.(Noter); ok {
			r.Notes = append(r.Notes, n.Notes()...)
		}
		if m, ok := side.(Meter); ok {
			r.Requests += m.Requests()
			r.BytesRead += m.BytesRead()
		}
	}
	switch d.o.Level {
	case LevelFast:
		r.Notes = append(r.Notes, "Level fast compares the content hashes that were stored when rows were loaded: it finds what was not loaded, not what was changed in the target afterwards.")
	case LevelCount:
		r.Notes = append(r.Notes, "Level count compares totals only: objects that are missing and others that are extra cancel out.")
	}
	if len(d.o.Without) > 0 {
		r.Notes = append(r.Notes, "Not compared: "+strings.Join(d.o.Without, ", ")+".")
	}
	switch {
	case errors.Is(err, ErrConservation):
		r.Verdict = VerdictBroken
		r.Sentence = "NO VERDICT: " + err.Error()
	case err != nil:
		r.Verdict = VerdictPartial
		r.Sentence = fmt.Sprintf("NO VERDICT: the comparison did not come to its end (%v); until then: %s", err, r.summary())
	default:
		r.Verdict, r.Sentence = r.judge()
	}
}

// totals are sums over all entities.
type totals struct{ matched, missing, extra, changed, rejected, unverified int64 }

func (r *Report) totals() (t totals) {
	for i := range r.Entities {
		c := &r.Entities[i].Counts
		t.matched += c.Matched
		t.missing += c.Missing
		t.extra += c.Extra
		t.changed += c.Changed
		t.rejected += total(c.Rejected) + total(c.RejectedTarget)
		t.unverified += c.Unverified
	}
	return t
}

func (r *Report) judge() (Verdict, string) {
	t := r.totals()
	// Only a full comparison with Intercom itself says that Intercom can go.
	final := r.Left == "intercom" && r.Right == "postgres" && r.Level == LevelFull && len(r.Only) == 0
	equal, different := "EQUAL", "DIFFERENT"
	if final {
		equal, different = "SAFE TO DISCONNECT", "NOT SAFE"
	}
	switch {
	case t.missing+t.extra+t.changed+t.rejected > 0:
		return VerdictDifferent, different + ": " + r.summary()
	case t.unverified > 0:
		if !final {
			different = "NOT VERIFIED"
		}
		return VerdictUnverified, different + ": " + r.summary()
	case r.Level == LevelCount:
		return VerdictEqual, fmt.Sprintf("EQUAL TOTALS: %s objects on each side, of which nothing else was compared", grouped(t.matched))
	}
	return VerdictEqual, fmt.Sprintf("%s: all %s objects of %s are in %s as they should be", equal, grouped(t.matched), r.Left, r.Right)
}

// summary counts what is not equal: "50 missing, 50 changed (email 50), 3 unverified".
func (r *Report) summary() string {
	t := r.totals()
	var parts []string
	add := func(n int64, word string) {
		if n > 0 {
			parts = append(parts, grouped(n)+" "+word)
		}
	}
	add(t.missing, "missing")
	add(t.extra, "extra")
	add(t.changed, "changed"+r.changedColumns())
	add(t.rejected, "rejected")
	add(t.unverified, "unverified")
	if len(parts) == 0 {
		return grouped(t.matched) + " equal"
	}
	return strings.Join(parts, ", ")
}

// changedColumns names the columns that differ most.
func (r *Report) changedColumns() string {
	sums := make(map[string]int64)
	for _, e := range r.Entities {
		for _, col := range e.Columns {
			if col.Different > 0 {
				sums[col.Name] += col.Different
			}
		}
	}
	// The stored hash and the time of the state differ with anything else.
	if len(sums) > 1 {
		delete(sums, "content_hash")
	}
	if len(sums) > 1 {
		delete(sums, "source_updated_at")
	}
	var names []string
	for name := range sums {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	var parts []string
	for i, name := range names {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("%d further columns", len(names)-i))
			break
		}
		parts = append(parts, name+" "+grouped(sums[name]))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// grouped writes a number with commas.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
