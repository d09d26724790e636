package snapshot_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

// What is not kept, because no sink needs it: the object, the messages beside their JSON, the distiller's input.
var unkept = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(record.Change{}, "Object"),
	cmpopts.IgnoreFields(record.TranscriptRow{}, "Messages", "Distill"),
	cmpopts.IgnoreFields(record.Version{}, "Rank"),
}

func TestWhatWasKeptIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e record.Encoder
		changes := rapid.SliceOfN(change(&e), 1, 12).Draw(t, "changes")
		b := pipeline.Batch[record.Change]{Items: changes, Rejects: rapid.SliceOfN(reject, 0, 3).Draw(t, "rejects")}
		m := newManifest()
		store := memory{}
		keep(t, store, m, "conversations", b)
		s := open(t, store, snapshot.Options{})
		seg := s.Runs[0].Streams(file.LayerRows)[0].Segments[0]
		got, err := s.NewReader().Changes(context.Background(), seg)
		if err != nil {
			t.Fatal(err)
		}
		// Of one segment, changes of one kind keep their order, and tombstones their places.
		if diff := cmp.Diff(byKind(changes), byKind(got.Items), unkept); diff != "" {
			t.Fatalf("changes (-kept +read):\n%s", diff)
		}
		for i, c := range changes {
			if (c.Gone != nil) != (got.Items[i].Gone != nil) {
				t.Fatalf("place %d: kept %v, read %v", i, c.Gone, got.Items[i].Gone)
			}
		}
		if diff := cmp.Diff(b.Rejects, got.Rejects, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("rejects (-kept +read):\n%s", diff)
		}
	})
}

func byKind(list []record.Change) map[record.Kind][]record.Change {
	m := map[record.Kind][]record.Change{}
	for _, c := range list {
		if c.Gone == nil {
			m[c.Kind] = append(m[c.Kind], c)
		}
	}
	for _, c := range list {
		if c.Gone != nil {
			m["gone"] = append(m["gone"], c)
		}
	}
	return m
}

var (
	text    = rapid.StringOfN(rapid.RuneFrom([]rune("abcÄ€😀 \t\"\\|<null>{}[],'0")), 0, 40, -1)
	someID  = rapid.StringMatching(`[a-z0-9]{1,24}`)
	instant = rapid.OneOf(rapid.Just(time.Time{}), rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(-62135596800000000+1, 253402300799999999).Draw(t, "µs")).UTC()
	}))
	sometime = rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(t, "µs")).UTC()
	})
	document = rapid.Custom(func(t *rapid.T) []byte {
		return append(record.AppendString([]byte(`{"a":`), text.Draw(t, "value")), '}')
	})
	reject = rapid.Custom(func(t *rapid.T) pipeline.Reject {
		return pipeline.Reject{
			Stage: "extract", Kind: string(rapid.SampledFrom(record.Kinds[:]).Draw(t, "kind")), ID: text.Draw(t, "id"), Field: text.Draw(t, "field"),
			Reason: text.Draw(t, "reason"), Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
		}
	})
)

// change makes sealed changes of every kind.
func change(e *record.Encoder) *rapid.Generator[record.Change] {
	return rapid.Custom(func(t *rapid.T) record.Change {
		id := someID.Draw(t, "id")
		kind := rapid.SampledFrom(record.Kinds[:]).Draw(t, "kind")
		c := record.Change{Kind: kind, SourceID: id, Version: record.Version{UpdatedAt: instant.Draw(t, "updated"), FetchedAt: sometime.Draw(t, "fetched")}}
		c.Object = &record.Object{Kind: kind, ID: id, Body: document.Draw(t, "body"), FetchedAt: c.Version.FetchedAt, Request: "GET /x", APIVersion: "2.16"}
		if rapid.IntRange(0, 5).Draw(t, "gone") == 0 {
			c.Version.Rank = 1
			c.Gone = &record.Tombstone{Why: rapid.SampledFrom([]record.Gone{record.GoneDeleted, record.GoneMerged}).Draw(t, "why"), At: instant.Draw(t, "at"), MergedInto: text.Draw(t, "into")}
			c.Object.Gone, c.Object.GoneAt, c.Object.MergedInto = c.Gone.Why, c.Gone.At, c.Gone.MergedInto
			return c
		}
		h := record.Head{Org: org, ID: record.RowID(org, kind, id), SourceID: id, SourceUpdatedAt: c.Version.UpdatedAt, SourceCreatedAt: instant.Draw(t, "created")}
		switch kind {
		case record.KindContact:
			c.EndUser = &record.EndUserRow{
				Head: h, ExternalID: text.Draw(t, "external"), Name: text.Draw(t, "name"), Email: rapid.OneOf(text, rapid.Just("A@b.example ")).Draw(t, "email"),
				Avatar: text.Draw(t, "avatar"), Role: text.Draw(t, "role"), SignedUpAt: instant.Draw(t, "signed"), FirstSeen: instant.Draw(t, "first"),
				LastSeen: instant.Draw(t, "last"), LastContactedAt: instant.Draw(t, "contacted"), CustomFields: document.Draw(t, "custom"),
				Context: document.Draw(t, "context"), Companies: rapid.SliceOfN(text, 0, 5).Draw(t, "companies"),
			}
			c.EndUser.EmailKey = record.EmailClaim(c.EndUser.Email)
			c.EndUser.Seal(e)
		case record.KindCompany:
			c.Company = &record.CompanyRow{
				Head: h, ExternalID: text.Draw(t, "external"), Name: text.Draw(t, "name"), Domain: text.Draw(t, "domain"), Industry: text.Draw(t, "industry"),
				Plan: text.Draw(t, "plan"), EmployeeCount: rapid.IntRange(0, 1e6).Draw(t, "employees"), SignedUpAt: instant.Draw(t, "signed"),
				CustomFields: document.Draw(t, "custom"), Context: document.Draw(t, "context"), LastRequestAt: instant.Draw(t, "request"),
			}
			c.Company.Seal(e)
		case record.KindConversation:
			r := &record.TranscriptRow{
				Head: h, ContactID: text.Draw(t, "contact"), CompanyID: text.Draw(t, "company"), SessionID: text.Draw(t, "session"), Subject: text.Draw(t, "subject"),
				MessagesJSON: []byte(`[]`), MessageCount: rapid.IntRange(0, 600).Draw(t, "messages"), ExpectedMessageCount: rapid.IntRange(0, 600).Draw(t, "expected"),
				Complete: rapid.Bool().Draw(t, "complete"), Status: text.Draw(t, "status"), Outcome: text.Draw(t, "outcome"), StartedAt: instant.Draw(t, "started"),
				EndedAt: instant.Draw(t, "ended"), Metadata: document.Draw(t, "metadata"),
			}
			for i := range rapid.IntRange(0, 4).Draw(t, "knowledge") {
				k := record.KnowledgeRow{
					Org: org, Key: "intercom:conversation:" + id, Kind: record.KnowledgeChild, ChunkIndex: i, Title: text.Draw(t, "title"), Content: text.Draw(t, "content"),
					SourceMessageIDs: rapid.SliceOfN(text, 0, 3).Draw(t, "cited"), Metadata: document.Draw(t, "metadata"), SourceID: id, SourceUpdatedAt: h.SourceUpdatedAt,
				}
				k.ID = record.KnowledgeID(org, k.Key, k.Kind, i)
				if i > 0 {
					k.ParentID = record.KnowledgeID(org, k.Key, record.KnowledgeParent, 0)
				}
				k.Seal(e)
				c.Knowledge = append(c.Knowledge, k)
			}
			r.KnowledgeHash = record.KnowledgeHash(e, c.Knowledge)
			r.Seal(e)
			c.Transcript = r
		default:
			c.Ticket = &record.TicketRow{
				Head: h, ContactID: text.Draw(t, "contact"), CompanyID: text.Draw(t, "company"), ConversationID: text.Draw(t, "conversation"), Number: text.Draw(t, "number"),
				Subject: text.Draw(t, "subject"), Message: text.Draw(t, "message"), Status: text.Draw(t, "status"), Priority: text.Draw(t, "priority"),
				Category: text.Draw(t, "category"), Assignee: text.Draw(t, "assignee"), MessagesJSON: []byte(`[]`), ResolvedAt: instant.Draw(t, "resolved"),
				Metadata: document.Draw(t, "metadata"),
			}
			c.Ticket.Seal(e)
		}
		return c
	})
}

func TestTheSourcesKeepTheirPromises(t *testing.T) {
	store := memory{}
	var batches []pipeline.Batch[record.Change]
	for i := range 7 {
		list := conversations(i*4, 4)
		for j := range list {
			list[j].Transcript.MessagesJSON = []byte(`[]`)
		}
		list[3].Transcript.Complete = i%2 == 0
		list[3].Transcript.Seal(new(record.Encoder))
		for j := range list {
			list[j].Object = &record.Object{Kind: list[j].Kind, ID: list[j].SourceID, Body: []byte(`{}`), FetchedAt: list[j].Version.FetchedAt}
		}
		batches = append(batches, pipeline.Batch[record.Change]{Items: list, Rejects: []pipeline.Reject{
			{Stage: "extract", Kind: "conversation", ID: fmt.Sprint("x", i)}, {Stage: "intercom", Kind: "conversation", ID: fmt.Sprint("y", i)},
		}})
	}
	keep(t, store, newManifest(), "conversations", batches...)
	s := open(t, store, snapshot.Options{})
	rows := s.Runs[0].Streams(file.LayerRows)[0].Segments
	pipetest.CheckSource(t, func() pipeline.Source[record.Change] { return s.Rows(rows) })
	pipetest.CheckSource(t, func() pipeline.Source[record.Change] { return s.Lanes(rows, 1)[0] })
	pipetest.CheckSource(t, func() pipeline.Source[record.Change] { return s.Later(rows) })
	pipetest.CheckSource(t, func() pipeline.Source[record.Change] { return s.Rejects(rows) })
	objects := s.Runs[0].ObjectStreams()[0].Segments
	pipetest.CheckSource(t, func() pipeline.Source[record.Object] { return s.Objects(objects, "extract") })

	// Two lanes and what they leave for later are everything once.
	seen, done := map[string]int{}, map[string]bool{}
	take := func(src *snapshot.Rows) {
		for page, err := range src.Pages(t.Context(), nil) {
			if err != nil {
				t.Fatal(err)
			}
			done[string(page.Cursor)] = true
			for _, c := range page.Items {
				seen[c.SourceID]++
			}
			for _, x := range page.Rejects {
				seen[x.ID]++
			}
		}
	}
	refused := snapshot.Refused(rows, done)
	take(s.Rejects(refused))
	if again := snapshot.Refused(rows, done); len(refused) != 7 || len(again) != 0 {
		t.Errorf("rejects are left in %d segments, then in %d; want 7 and 0", len(refused), len(again))
	}
	for _, lane := range s.Lanes(rows, 2) {
		take(lane)
	}
	left, later := snapshot.Left(rows, done)
	if len(left) != 0 || len(later) != 3 {
		t.Errorf("%d segments are left and %d for later, want 0 and 3", len(left), len(later))
	}
	take(s.Later(later))
	if left, later = snapshot.Left(rows, done); len(left)+len(later) != 0 {
		t.Errorf("%d segments are left and %d for later in the end", len(left), len(later))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was yielded %d times", id, n)
		}
	}
	if len(seen) != 28+14 {
		t.Errorf("%d changes and rejects, want 42", len(seen))
	}
}
