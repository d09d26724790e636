package diff

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

// In whichever order the sides are named, what one of them has refused or left out is explained by what it says of it.
func TestRejectsAndRulesOfTheLeftSideAreClassesOfTheirOwn(t *testing.T) {
	s := newScene(5)
	s.l.moves = true
	s.l.extra = map[string]Object{
		"1001": {SourceID: "1001", State: record.FingerprintRejected, Note: "map: email"},
		"1002": {SourceID: "1002", State: record.FingerprintExcluded, Note: "no customer"},
		// Word that it is gone is no rule by which the other side may keep it.
		"1003": {SourceID: "1003", State: record.FingerprintExcluded, Note: "merged into another contact", Change: record.Change{
			Kind: record.KindConversation, SourceID: "1003", Gone: &record.Tombstone{Why: record.GoneMerged}}},
	}
	for id := range s.l.extra {
		delete(s.l.changes, id)
	}
	r := s.want(t, VerdictDifferent,
		"excluded 1002 after 1: excluded: no customer",
		"extra 1003 after 5: deleted at the source",
		"rejected 1001 after 1: rejected: map: email")
	want := Counts{Source: 2, Target: 5, Matched: 2, Extra: 1, Rejected: map[string]int64{}, Excluded: map[string]int64{},
		RejectedTarget: map[string]int64{"map: email": 1}, ExcludedTarget: map[string]int64{"no customer": 1}}
	if d := cmp.Diff(want, r.Entities[0].Counts); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	if r.Sentence != "DIFFERENT: 1 extra, 1 rejected" {
		t.Errorf("sentence %q", r.Sentence)
	}
}

func TestWhatTheLeftSideLeavesOutByARuleIsNoDifference(t *testing.T) {
	s := newScene(3)
	s.l.moves = true
	delete(s.l.changes, "1002")
	s.l.extra = map[string]Object{"1002": {SourceID: "1002", State: record.FingerprintExcluded, Note: "no customer"}}
	s.want(t, VerdictEqual, "excluded 1002 after 1: excluded: no customer")
}

func TestWhatTheRightSideCouldNotMapIsRejectedOrChanged(t *testing.T) {
	s := newScene(3)
	s.l.moves = true
	delete(s.l.changes, "1001")
	s.r.states = map[string]record.FingerprintState{"1001": record.FingerprintRejected, "1002": record.FingerprintRejected}
	r := s.want(t, VerdictDifferent,
		"changed 1002 after 1: the present state could not be mapped; an older one is loaded",
		"rejected 1001 after 1: could not be mapped")
	if c := r.Entities[0].Counts; c.RejectedTarget["could not be mapped"] != 1 || c.Changed != 1 || c.Target != 3 {
		t.Errorf("counts %+v", c)
	}
}

// That Intercom did not answer says nothing of the object.
func TestWhatCouldNotBeReadIsUnresolvedOnWhicheverSide(t *testing.T) {
	unread := map[string]record.FingerprintState{"1001": record.FingerprintUnread, "1002": record.FingerprintUnread, "1003": record.FingerprintUnread}
	left := newScene(5)
	left.l.moves, left.l.states, left.l.note = true, unread, "status 500"
	delete(left.r.changes, "1002")
	delete(left.r.changes, "1003")
	left.r.extra = map[string]Object{"1003": {SourceID: "1003", State: record.FingerprintRejected, Note: "details"}}
	r := left.want(t, VerdictDifferent,
		"rejected 1003 after 1: rejected: details",
		"unresolved 1001 after 1: could not be read: status 500",
		"unresolved 1002 after 1: could not be read: status 500")
	if c := r.Entities[0].Counts; c.Unresolved != 2 || c.UnresolvedTarget != 1 || c.Unverified != 2 {
		t.Errorf("counts %+v", c)
	}
	right := newScene(5)
	right.l.moves = true
	right.r.states, right.r.note = unread, "status 500"
	delete(right.l.changes, "1002")
	right.want(t, VerdictUnverified,
		"unresolved 1001 after 1: could not be read: status 500",
		"unresolved 1002 after 1: could not be read: status 500",
		"unresolved 1003 after 1: could not be read: status 500")
}
