package diff

import (
	"testing"
	"time"

	"haloingest/pipeline/record"
)

// Whether a conversation was loaded once, and its row deleted by somebody, nobody knows.
func TestOfWhatIsMissingOnlyWhatIsKnownIsSaid(t *testing.T) {
	for name, want := range map[string]string{"postgres": "not in the database", "snapshot:s": "not in snapshot:s"} {
		s := newScene(3)
		s.r.name = name
		delete(s.r.changes, "1001")
		s.want(t, VerdictDifferent, "missing 1001 after 1: "+want)
	}
}

// What the right side knows to be gone, by whatever name, and the left side has, is a difference: an exclusion would let it pass.
func TestWhatIsGoneOnTheRightIsMissingThereAndNotLeftOut(t *testing.T) {
	gone := map[string]*record.Tombstone{
		"merged":  {Why: record.GoneMerged, At: epoch.Add(time.Minute), MergedInto: "1002"},
		"deleted": {Why: record.GoneDeleted, At: epoch.Add(time.Minute)},
	}
	states := map[string]record.FingerprintState{"merged": record.FingerprintExcluded, "deleted": record.FingerprintGone}
	version := record.Version{UpdatedAt: epoch.Add(time.Minute), Rank: 1}
	for name, tombstone := range gone {
		for _, right := range []struct {
			name  string
			moves bool
		}{{"intercom", true}, {"snapshot:s", false}} {
			t.Run(name+" on the right, "+right.name, func(t *testing.T) {
				s := newScene(3)
				s.l.name, s.l.moves, s.r.name, s.r.moves = "postgres", true, right.name, right.moves
				delete(s.r.changes, "1001")
				s.r.extra = map[string]Object{"1001": {SourceID: "1001", State: states[name], Version: version, Note: "merged into another contact",
					Change: record.Change{Kind: record.KindConversation, SourceID: "1001", Gone: tombstone}}}
				s.want(t, VerdictDifferent, "missing 1001 after 1: merged into another contact")
			})
		}
	}
}

func TestWhatIsMergedAfterTheSnapshotOnTheLeftWasMadeIsInFlight(t *testing.T) {
	s := newScene(3)
	s.l.name, s.r.name = "snapshot:s", "intercom"
	delete(s.r.changes, "1001")
	s.r.extra = map[string]Object{"1001": {SourceID: "1001", State: record.FingerprintExcluded, Version: record.Version{UpdatedAt: epoch.Add(time.Hour), Rank: 1},
		Change: record.Change{Kind: record.KindConversation, SourceID: "1001", Gone: &record.Tombstone{Why: record.GoneMerged, MergedInto: "1002"}}}}
	s.want(t, VerdictUnverified, "in_flight 1001 after 1: deleted at the source after the snapshot was made")
}
