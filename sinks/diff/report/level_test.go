package report_test

import (
	"strings"
	"testing"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
)

func TestColumnsThatWereNotComparedAreNotShown(t *testing.T) {
	for level, want := range map[diff.Level]struct{ hash, subject, reason bool }{
		diff.LevelFull: {true, true, true}, diff.LevelFast: {true, false, true}, diff.LevelCount: {},
	} {
		columns := []diff.Column{{Name: "subject"}, {Name: "content_hash", Compared: 3, Equal: 3}, {Name: "run_id", NotCompared: "names the run"}}
		r := diff.Report{Left: "a", Right: "b", Level: level, Entities: []diff.Entity{{Name: "tickets", Columns: columns}, {Name: "transcripts", Columns: columns}}}
		var text, html strings.Builder
		if err := report.Text(&text, r); err != nil {
			t.Fatal(err)
		}
		if err := report.HTML(&html, r); err != nil {
			t.Fatal(err)
		}
		for name, wanted := range map[string]bool{"content_hash": want.hash, "subject": want.subject, "names the run": want.reason} {
			if got := strings.Contains(text.String(), name); got != wanted {
				t.Errorf("level %s: text names %s: %v\n%s", level, name, got, text.String())
			}
			if got := strings.Contains(html.String(), name); got != wanted {
				t.Errorf("level %s: page names %s: %v", level, name, got)
			}
		}
		if n := strings.Count(text.String(), "names the run"); n > 1 {
			t.Errorf("level %s: the reason is told %d times", level, n)
		}
	}
}
