package diff

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

// scene is a diff of two small sides whose clock and pauses are the test's.
type scene struct {
	l, r   *inMemory
	looks  int
	pauses []time.Duration
	step   func(look int) // called before each look
	o      Options
}

func newScene(n int) *scene {
	return &scene{l: &inMemory{name: "left", changes: conversations(n)}, r: &inMemory{name: "right", moves: true, changes: conversations(n)}}
}

// watermark is when the scenes begin: an hour after the newest state.
var watermark = epoch.Add(time.Hour)

// run compares and returns the findings as lines.
func (s *scene) run(t *testing.T) (Report, []string) {
	t.Helper()
	found := []string{}
	o := s.o
	o.Only, o.Now = []string{"conversations"}, func() time.Time { return watermark }
	o.Sleep = func(_ context.Context, d time.Duration) error { s.pauses = append(s.pauses, d); return nil }
	o.Findings = FindingsFunc(func(_ context.Context, f Finding, _, _ *Object) error {
		line := fmt.Sprintf("%s %s after %d: %s", f.Class, f.SourceID, f.Rounds, f.Cause)
		if f.Converged {
			line += " (converged)"
		}
		found = append(found, line)
		return nil
	})
	s.r.fetch = func([]string) {
		s.looks++
		if s.step != nil {
			s.step(s.looks)
		}
	}
	r, err := Compare(t.Context(), s.l, s.r, o)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return r, found
}

func (s *scene) want(t *testing.T, verdict Verdict, want ...string) Report {
	t.Helper()
	r, found := s.run(t)
	if d := cmp.Diff(want, found); d != "" {
		t.Errorf("findings (-want +got):\n%s", d)
	}
	if r.Verdict != verdict {
		t.Errorf("verdict %s (%s), want %s", r.Verdict, r.Sentence, verdict)
	}
	return r
}

func TestADifferenceThatStaysIsConfirmedAtTheFirstLook(t *testing.T) {
	s := newScene(5)
	s.l.moves = true
	s.r.changes["1001"] = conversation("1001", 1, "tampered")
	s.want(t, VerdictDifferent, "changed 1001 after 1: loaded but different")
	if len(s.pauses) > 0 {
		t.Errorf("waited %v", s.pauses)
	}
}

func TestThatTheLiveSideIsReadAgainLaterIsNoChange(t *testing.T) {
	s := newScene(5)
	s.l.moves = true
	s.r.changes["1001"] = conversation("1001", 1, "tampered")
	s.l.fetch = func(ids []string) {
		for _, id := range ids {
			c := s.l.changes[id]
			c.Version.FetchedAt = c.Version.FetchedAt.Add(time.Minute)
			s.l.changes[id] = c
		}
	}
	s.want(t, VerdictDifferent, "changed 1001 after 1: loaded but different")
}

func TestWhatIsEqualWhenLookedAtAgainHasConverged(t *testing.T) {
	s := newScene(5)
	s.l.moves = true
	s.r.changes["1001"] = conversation("1001", 0, "older")
	delete(s.r.changes, "1002")
	delete(s.l.changes, "1003")
	s.l.changes["1001"] = conversation("1001", 3601, "changed after the watermark")
	s.l.changes["1002"] = conversation("1002", 3602, "made after the watermark")
	s.step = func(look int) {
		if look == 3 {
			s.r.changes["1001"], s.r.changes["1002"] = s.l.changes["1001"], s.l.changes["1002"]
			delete(s.r.changes, "1003")
		}
	}
	s.r.changes["1003"] = conversation("1003", 3599, "deleted at the source just now")
	r := s.want(t, VerdictEqual,
		"in_flight 1001 after 3: equal when it was looked at again (converged)",
		"in_flight 1002 after 3: equal when it was looked at again (converged)",
		"in_flight 1003 after 3: gone from both sides since they were read (converged)")
	c := r.Entities[0].Counts
	if c.InFlight != 2 || c.InFlightTarget != 2 || c.Converged != 3 || c.Unverified != 0 || c.Source != 4 || c.Target != 4 {
		t.Errorf("counts %+v", c)
	}
	if d := cmp.Diff([]time.Duration{250 * time.Millisecond, 500 * time.Millisecond}, s.pauses); d != "" {
		t.Errorf("pauses (-want +got):\n%s", d)
	}
}

func TestWhatChangedAfterTheWatermarkAndIsNotLoadedIsInFlight(t *testing.T) {
	s := newScene(3)
	s.l.moves = true
	s.l.changes["1001"] = conversation("1001", 3601, "changed after the watermark")
	s.l.changes["1009"] = conversation("1009", 3601, "made after the watermark")
	r := s.want(t, VerdictUnverified, "in_flight 1001 after 5: changed after the watermark", "in_flight 1009 after 5: changed after the watermark")
	if c := r.Entities[0].Counts; c.Unverified != 2 {
		t.Errorf("counts %+v", c)
	}
}

func TestWhatChangedShortlyBeforeTheWatermarkIsGivenTime(t *testing.T) {
	s := newScene(3)
	s.l.moves = true
	s.l.changes["1001"] = conversation("1001", 3599, "changed just before the watermark")
	s.want(t, VerdictDifferent, "changed 1001 after 5: an older state is loaded")
}

func TestWhatChangesAtEveryLookIsUnresolved(t *testing.T) {
	s := newScene(3)
	s.step = func(look int) {
		s.r.changes["1001"] = conversation("1001", -look, fmt.Sprint("state ", look)) // never newer than the left's
	}
	s.r.changes["1001"] = conversation("1001", -100, "tampered")
	r := s.want(t, VerdictUnverified, "unresolved 1001 after 5: it changed each time it was looked at")
	if c := r.Entities[0].Counts; c.Unresolved != 1 || c.UnresolvedTarget != 1 {
		t.Errorf("counts %+v", c)
	}
}

func TestWhatComesWhileItIsComparedAndDiffersIsUnresolved(t *testing.T) {
	s := newScene(3)
	delete(s.r.changes, "1001")
	s.step = func(look int) {
		if look == 1 {
			s.r.changes["1001"] = conversation("1001", -1, "another")
		}
	}
	s.want(t, VerdictUnverified, "unresolved 1001 after 5: it came or went while it was compared: compare again")
}

func TestADatabaseThatHasMovedOnSinceTheSnapshot(t *testing.T) {
	s := newScene(6)
	s.r.changes["1001"] = conversation("1001", 4000, "changed since")
	s.r.changes["1009"] = conversation("1009", 4001, "made since")
	gone := record.Change{Kind: record.KindConversation, SourceID: "1002", Gone: &record.Tombstone{Why: record.GoneDeleted},
		Version: record.Version{UpdatedAt: epoch.Add(4002 * time.Second), FetchedAt: epoch.Add(9000 * time.Second), Rank: 1}}
	s.r.changes["1002"] = gone
	older := gone
	older.SourceID, older.Version = "1003", record.Version{UpdatedAt: epoch, FetchedAt: epoch, Rank: 1}
	s.r.changes["1003"] = older
	s.r.changes["1008"] = conversation("1008", 1, "never at the source")
	left := gone
	left.SourceID, left.Version = "1004", record.Version{UpdatedAt: epoch.Add(100 * time.Second), FetchedAt: epoch.Add(3000 * time.Second), Rank: 1}
	s.l.changes["1004"] = left
	s.want(t, VerdictDifferent,
		"extra 1004 after 1: deleted at the source",
		"extra 1008 after 1: not at the source",
		"in_flight 1001 after 1: changed after the snapshot was made",
		"in_flight 1002 after 1: deleted at the source after the snapshot was made",
		"in_flight 1009 after 1: changed after the snapshot was made",
		"missing 1003 after 1: marked as deleted in the target, but there at the source")
}

func TestARowThatOnlyClaimsToBeNewerIsNoExcuse(t *testing.T) {
	s := newScene(3)
	s.r.changes["1001"] = conversation("1001", 4000, "tampered")
	s.r.changes["1009"] = conversation("1009", 4000, "added")
	s.r.forged = map[string]bool{"1001": true, "1009": true}
	s.want(t, VerdictDifferent,
		"changed 1001 after 1: loaded but different: its values do not match its own content hash, so it was changed in the target",
		"extra 1009 after 1: not at the source")
}

func TestRejectsAndRulesAreClassesOfTheirOwn(t *testing.T) {
	s := newScene(4)
	s.r.extra = map[string]Object{
		"1001": {SourceID: "1001", State: record.FingerprintRejected, Note: "map: email"},
		"1002": {SourceID: "1002", State: record.FingerprintExcluded, Note: "no customer"},
	}
	delete(s.r.changes, "1001")
	delete(s.r.changes, "1002")
	r := s.want(t, VerdictDifferent, "excluded 1002 after 1: excluded: no customer", "rejected 1001 after 1: rejected: map: email")
	c := r.Entities[0].Counts
	if d := cmp.Diff(map[string]int64{"map: email": 1}, c.Rejected); d != "" || c.Excluded["no customer"] != 1 || c.Missing != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestTooManyObjectsOnTheMoveAreUnresolved(t *testing.T) {
	s := newScene(0)
	s.l.moves = true
	for i := range 30 {
		id := fmt.Sprint(i)
		s.l.changes[id] = conversation(id, 3601, "new")
	}
	s.o.RecheckLimit = 20
	r, found := s.run(t)
	c := r.Entities[0].Counts
	if len(found) != 30 || c.Unresolved != 10 || c.InFlight != 20 || r.Verdict != VerdictUnverified {
		t.Errorf("%d findings, counts %+v, %s", len(found), c, r.Sentence)
	}
}

func TestAnInterruptedDiffIsPartial(t *testing.T) {
	s := newScene(2000)
	ctx, cancel := context.WithCancelCause(t.Context())
	s.r.changes["1001"] = conversation("1001", 1, "tampered")
	s.r.fetch = func([]string) { cancel(errors.New("enough")) }
	r, err := Compare(ctx, s.l, s.r, Options{TempDir: t.TempDir()})
	if !errors.Is(err, ErrPartial) || r.Verdict != VerdictPartial || len(r.Entities) == 0 || !r.Entities[len(r.Entities)-1].Partial {
		t.Errorf("%v, %s: %s", err, r.Verdict, r.Sentence)
	}
}
