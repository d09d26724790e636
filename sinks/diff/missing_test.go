package diff

import "testing"

// Whether a conversation was loaded once, and its row deleted by somebody, nobody knows.
func TestOfWhatIsMissingOnlyWhatIsKnownIsSaid(t *testing.T) {
	for name, want := range map[string]string{"postgres": "not in the database", "snapshot:s": "not in snapshot:s"} {
		s := newScene(3)
		s.r.name = name
		delete(s.r.changes, "1001")
		s.want(t, VerdictDifferent, "missing 1001 after 1: "+want)
	}
}
