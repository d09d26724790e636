package report_test

import (
	"strings"
	"testing"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
)

func TestWhatTheLeftSideLeavesOutIsATermOfTheRightSide(t *testing.T) {
	r := diff.Report{Left: "postgres", Right: "intercom", Level: diff.LevelFull, Entities: []diff.Entity{{Name: "knowledge", Counts: diff.Counts{
		Source: 3, Target: 8, Matched: 3, ExcludedTarget: map[string]int64{"no customer": 4}, RejectedTarget: map[string]int64{"map: created_at": 1},
	}}}}
	var text, html strings.Builder
	if err := report.Text(&text, r); err != nil {
		t.Fatal(err)
	}
	if err := report.HTML(&html, r); err != nil {
		t.Fatal(err)
	}
	if want := "  intercom  8 = 3 matched + 1 rejected: map: created_at + 4 excluded: no customer\n"; !strings.Contains(text.String(), want) {
		t.Errorf("no %q in\n%s", want, text.String())
	}
	for _, want := range []string{"excluded: no customer", "rejected: map: created_at"} {
		if !strings.Contains(html.String(), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Contains(html.String()+text.String(), "IS NOT") {
		t.Error("the law is said to be broken")
	}
}
