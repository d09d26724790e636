package report

import (
	"fmt"
	"strings"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report/page"
)

// Safe is how the sentence begins when Intercom can be disconnected as far as a diff can tell.
const Safe = "SAFE TO DISCONNECT"

// unknown stands where a verdict has no reason, which is a fault of whoever made the report.
const unknown = "the report does not say why"

// mostColumns are named in the sentence.
const mostColumns = 5

// Sentence says the verdict of a diff to a person, in one place for all who say it. Only a diff that could prove that Halo has
// all that Intercom has says SAFE TO DISCONNECT or NOT SAFE: the left side is intercom, or a snapshot of which the caller
// knows that it is complete and fresh, the right side is postgres, all streams were compared, in every column. Others
// say EQUAL or DIFFERENT.
func Sentence(r diff.Report, freshSnapshot bool) string {
	t := totalOf(r)
	proof := proves(r, freshSnapshot)
	good, bad := "EQUAL", "DIFFERENT"
	if proof {
		good, bad = Safe, "NOT SAFE"
	}
	switch {
	case r.Verdict == diff.VerdictBroken:
		what := "a total that was counted a second way is another"
		if len(t.broken) > 0 {
			what = "the totals of " + strings.Join(t.broken, ", ") + " do not add up"
		}
		return "NO VERDICT: " + what + ", which must not happen"
	case r.Verdict == diff.VerdictPartial:
		so := "what was compared is equal"
		if list := t.faults(); list != unknown {
			so = "found so far: " + list
		}
		return "INTERRUPTED: not everything was compared; " + so
	case r.Verdict == diff.VerdictEqual && t.rejected == 0:
		return good + ": " + t.equal(r)
	case r.Verdict == diff.VerdictEqual && !proof:
		return fmt.Sprintf("EQUAL: %s; %s kept as rejects", t.equal(r), are(t.rejected))
	case r.Verdict == diff.VerdictUnverified && !proof:
		return "UNVERIFIED: " + t.faults() + ", and no confirmed difference"
	}
	return bad + ": " + t.faults()
}

// proves reports whether the diff compares what has to be compared before Intercom is disconnected.
func proves(r diff.Report, freshSnapshot bool) bool {
	left := r.Left == "intercom" || freshSnapshot && strings.HasPrefix(r.Left, "snapshot:")
	return left && r.Right == "postgres" && r.Level == diff.LevelFull && len(r.Only) == 0
}

// equal says what is equal, and how that is known.
func (t total) equal(r diff.Report) string {
	what := page.Plural(t.objects, "object")
	if t.knowledge > 0 {
		what += " and the knowledge of " + page.Plural(t.knowledge, "conversation")
	}
	how := "in every column"
	switch r.Level {
	case diff.LevelCount:
		return page.Plural(t.compared, "object") + " on each side; only the totals were compared"
	case diff.LevelFast:
		how = "by their stored hashes, which do not tell what was changed in the tables afterwards"
	}
	text := what + " equal " + how
	if t.inFlight > 0 {
		text += fmt.Sprintf("; %s while they were compared", page.Count(t.inFlight)+" moved")
	}
	return text
}

// faults lists what is not equal: "50 missing, 50 changed (email 50), 3 unverified".
func (t total) faults() string {
	var list []string
	add := func(n int64, what string) {
		if n > 0 {
			list = append(list, page.Count(n)+" "+what)
		}
	}
	add(t.missing, "missing")
	add(t.extra, "extra")
	add(t.changed, "changed"+t.where())
	add(t.rejected, "rejected")
	add(t.unverified, "unverified")
	if t.miscounted > 0 {
		list = append(list, page.Plural(t.miscounted, "total")+" not confirmed by a second count")
	}
	if len(list) == 0 {
		list = append(list, unknown)
	}
	return strings.Join(list, ", ")
}

func (t total) where() string {
	var names []string
	for i, c := range t.columns {
		if i == mostColumns {
			names = append(names, "and "+page.Plural(int64(len(t.columns)-i), "more column"))
			break
		}
		names = append(names, page.Visible(c.name)+" "+page.Count(c.n))
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

func are(n int64) string {
	if n == 1 {
		return "1 object is"
	}
	return page.Count(n) + " objects are"
}

// tone is how a verdict looks: good, bad, or open.
func tone(r diff.Report) string {
	switch {
	case r.Verdict == diff.VerdictEqual && totalOf(r).rejected == 0:
		return "good"
	case r.Verdict == diff.VerdictPartial, r.Verdict == diff.VerdictUnverified, r.Verdict == diff.VerdictEqual:
		return "open"
	}
	return "bad"
}
