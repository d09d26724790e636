package compare_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/compare"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

func TestRepairsNameEachObjectOnceAndInAFixedOrder(t *testing.T) {
	row := "0d3b0000-0000-4000-8000-00000000de50"
	findings := []diff.Finding{
		{Entity: "knowledge", SourceID: "9", RowID: row, Class: diff.Changed, Cells: []diff.Cell{{Column: "content"}}},
		{Entity: "knowledge", SourceID: "8", RowID: row, Class: diff.Extra, Cause: "not at the source"},
		{Entity: "knowledge", SourceID: "9", RowID: row, Class: diff.Changed, Cells: []diff.Cell{{Column: "title"}}},
		{Entity: "transcripts", SourceID: "9", Class: diff.Missing, Cause: "never loaded"},
		{Entity: "tickets", SourceID: "7", RowID: row, Class: diff.Extra},
		{Entity: "transcripts", SourceID: "10", Class: diff.InFlight},
		{Entity: "transcripts", SourceID: "11", Class: diff.Rejected},
		{Entity: "end_users", SourceID: "b", Class: diff.Extra},
		{Entity: "companies", SourceID: "a", Class: diff.Unresolved},
	}
	want := `{"entity":"companies","source_id":"a","action":"rewrite","why":"unresolved"}
{"entity":"end_users","source_id":"b","action":"confirm_gone","why":"extra"}
{"entity":"transcripts","source_id":"9","action":"load","why":"missing: never loaded"}
{"entity":"tickets","source_id":"7","row_id":"` + row + `","action":"confirm_gone","why":"extra"}
{"entity":"knowledge","source_id":"8","row_id":"` + row + `","action":"withdraw","why":"extra: not at the source"}
{"entity":"knowledge","source_id":"9","action":"rewrite","why":"changed (content); changed (title)"}
`
	var forth, back compare.Repairs
	for i := range findings {
		forth.Add(findings[i])
	}
	for i := range findings {
		back.Add(findings[len(findings)-1-i])
	}
	var got, again bytes.Buffer
	if err := forth.Write(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := back.Write(&again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got.String(), again.String()); diff != "" {
		t.Errorf("it depends on the order of findings:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"8", "9"}, forth.IDs(record.KindConversation)); diff != "" {
		t.Errorf("ids to be read (-want +got):\n%s", diff)
	}
	if n := len(forth.Strays(record.KindTicket)); n != 1 || len(forth.Strays(record.KindConversation)) != 0 {
		t.Errorf("%d stray tickets, want 1, and no stray conversation", n)
	}
	conversations, rows := forth.StrayKnowledge()
	if len(rows) != 1 || rows[0].String() != row || !cmp.Equal(conversations, []string{"8"}) {
		t.Errorf("stray knowledge of conversations %v, rows %v; want %s of conversation 8", conversations, rows, row)
	}
	if diff := cmp.Diff("1 to load, 2 to write anew, 2 to be confirmed as gone, 1 whose knowledge is to be withdrawn", forth.Summary()); diff != "" {
		t.Error(diff)
	}

	// Where the database is left, missing and extra change places.
	left := compare.Repairs{DatabaseLeft: true}
	left.Add(findings[3])
	left.Add(findings[7])
	if diff := cmp.Diff("1 to load, 1 to be confirmed as gone", left.Summary()); diff != "" {
		t.Error(diff)
	}
}
