package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

func withFiles(id string, n int, names ...string) record.Change {
	return conversationChange(orgA, id, "", n, nil, func(r *record.TranscriptRow) {
		list := messages(0, 2)
		for _, name := range names {
			list[1].Attachments = append(list[1].Attachments, record.Attachment{Name: name, URL: "https://files.example/" + name, ContentType: "image/png", Size: 10})
		}
		setMessages(r, list)
	})
}

func savedFile(id, message string, n int, name, path string) record.AttachmentFile {
	f := record.AttachmentFile{MessageID: message, N: n, URL: "https://files.example/" + name, Name: name, Path: path}
	if path != "" {
		f.Bytes, f.SHA256 = 7, strings.Repeat("b", 64)
	} else {
		f.Error, f.Retry = "it is gone", true
	}
	return f
}

func attachmentsFile(id string, whole bool, list ...record.AttachmentFile) pipeline.File {
	return pipeline.File{Path: id, Meta: record.ObjectAttachments{Kind: record.KindConversation, SourceID: id, Whole: whole, Files: list}}
}

func (x *loading) inventory() []string {
	x.tb.Helper()
	var list []string
	for a, err := range x.db.Attachments(x.tb.Context(), x.lease.org) {
		if err != nil {
			x.tb.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %s %s/%d %s path=%s known=%t gone=%t error=%s", a.Kind, a.SourceID, a.MessageID, a.N, a.Name, a.Path, a.Known, a.Gone, a.Error))
	}
	slices.Sort(list)
	return list
}

func TestTheInventoryListsWhatMessagesNameAndWhatBecameOfIt(t *testing.T) {
	x := newLoading(t)
	ticket := ticketChange(orgA, "t1", "", 1, func(r *record.TicketRow) {
		r.MessagesJSON = record.AppendMessages(nil, []record.Message{{ID: "9", Attachments: []record.Attachment{{Name: "z", URL: "https://files.example/z"}}}})
	})
	batch := []record.Change{withFiles("v1", 1, "a", "b"), withFiles("v2", 1, "c"), withFiles("v3", 1), ticket, goneChange(record.KindConversation, "v2", 5)}
	told := []pipeline.File{attachmentsFile("v1", true, savedFile("v1", "101", 0, "a", "v1/a"), savedFile("v1", "101", record.InlineBase, "inline", "v1/inline"))}
	if err := x.tryFiles(told, batch...); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"conversation v1 101/0 a path=v1/a known=true gone=false error=",
		"conversation v1 101/1 b path= known=false gone=false error=",
		"conversation v1 101/1000 inline path=v1/inline known=true gone=false error=",
		"conversation v2 101/0 c path= known=false gone=true error=",
		"ticket t1 9/0 z path= known=false gone=false error=",
	}
	if diff := cmp.Diff(want, x.inventory()); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
	totals, err := x.db.AttachmentTotals(t.Context(), orgA)
	if diff := cmp.Diff(AttachmentTotals{Files: 5, Saved: 2, SavedBytes: 14, Unasked: 2, Gone: 1, Bytes: 10}, totals); err != nil || diff != "" {
		t.Errorf("totals, error %v (-want +got):\n%s", err, diff)
	}

	// What is saved stays so; what the object does not name any more goes, unless only a part of the object came; an address that has
	// changed is another file.
	err = x.run.SaveAttachments(t.Context(), []record.ObjectAttachments{
		{Kind: record.KindConversation, SourceID: "v1", Whole: true, Files: []record.AttachmentFile{savedFile("v1", "101", 0, "a", ""), savedFile("v1", "101", 1, "b", "")}},
		{Kind: record.KindTicket, SourceID: "t1", Files: []record.AttachmentFile{savedFile("t1", "9", 0, "other", "t1/other")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want[1], want[2] = "conversation v1 101/1 b path= known=true gone=false error=it is gone", want[3]
	want[3] = "ticket t1 9/0 z path= known=false gone=false error="
	if diff := cmp.Diff(want[:4], x.inventory()); diff != "" {
		t.Errorf("inventory after the second time (-want +got):\n%s", diff)
	}
}

func TestAttachmentsOfAnOlderStateAreNotTakenAndTheSameOnesWriteNothing(t *testing.T) {
	x := newLoading(t)
	told := func(path string) []pipeline.File {
		return []pipeline.File{attachmentsFile("v1", true, savedFile("v1", "101", 0, "a", path))}
	}
	if err := x.tryFiles(told("new"), withFiles("v1", 2, "a")); err != nil {
		t.Fatal(err)
	}
	before := x.table(`SELECT xmin, path FROM ingest.attachments`)
	if err := x.tryFiles(told("old"), withFiles("v1", 1, "a")); err != nil {
		t.Fatal(err)
	}
	if err := x.tryFiles(told("new"), withFiles("v1", 2, "a")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, x.table(`SELECT xmin, path FROM ingest.attachments`)); diff != "" {
		t.Errorf("attachments (-before +after):\n%s", diff)
	}
}

func TestAnInventoryOfManyConversationsIsReadInPages(t *testing.T) {
	x := newLoading(t)
	x.exec(`INSERT INTO transcripts (org_id, id, source_id, messages) SELECT $1, gen_random_uuid(), 'v' || i,
		CASE WHEN i % 3 = 0 THEN '[]'::jsonb WHEN i % 3 = 1 THEN '[{"id": "1", "attachments": [{"url": "u", "size": 1e400}]}]' ELSE '"nonsense"' END
		FROM generate_series(1, $2) i`, orgA, 3*attachmentPage)
	seen := make(map[string]bool)
	for _, line := range x.inventory() {
		seen[line] = true
	}
	if len(seen) != attachmentPage {
		t.Errorf("%d of %d files", len(seen), attachmentPage)
	}
}
