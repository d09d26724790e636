package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func TestKnowledgeIsReplacedExactly(t *testing.T) {
	x := newLoading(t)
	x.commit(contactChange(orgA, "c1", 1, nil))
	rows := func() []string {
		return x.lines(`SELECT content || ' ' || coalesce(embedding::text, '') FROM knowledge`)
	}
	set := func(texts ...string) record.Change { return conversationChange(orgA, "v1", "c1", 1, texts, nil) }
	wantCounts(t, "a new conversation", x.commit(set("a", "b", "c")), map[string]int64{"load/transcripts/inserted": 1, "load/knowledge/inserted": 3})
	x.exec(`UPDATE knowledge SET embedding = '{1}'`)
	wantCounts(t, "the same again", x.commit(set("a", "b", "c")), map[string]int64{"load/transcripts/equal": 1})
	wantCounts(t, "another distiller", x.commit(set("a", "B", "c", "d")), map[string]int64{"load/transcripts/updated": 1, "load/knowledge/equal": 2, "load/knowledge/updated": 1, "load/knowledge/inserted": 1})
	if diff := cmp.Diff([]string{"B ", "a {1}", "c {1}", "d "}, rows()); diff != "" {
		t.Errorf("rows; a text keeps its embedding (-want +got):\n%s", diff)
	}
	wantCounts(t, "less to know", x.commit(set("a")), map[string]int64{"load/transcripts/updated": 1, "load/knowledge/equal": 1, "load/knowledge/deleted": 3})
	wantCounts(t, "nothing to know", x.commit(set()), map[string]int64{"load/transcripts/updated": 1, "load/knowledge/deleted": 1})
	wantCounts(t, "nothing again", x.commit(set()), map[string]int64{"load/transcripts/equal": 1})
}

func TestKnowledgeWaitsForItsCustomerAndNeverGoesToAll(t *testing.T) {
	x := newLoading(t)
	wantCounts(t, "no customer at all", x.commit(conversationChange(orgA, "v0", "", 1, []string{"secret"}, nil)), map[string]int64{"load/transcripts/inserted": 1})
	wantCounts(t, "a customer that is not known", x.commit(conversationChange(orgA, "v1", "c1", 1, []string{"old", "text"}, nil)), map[string]int64{"load/transcripts/inserted": 1})
	wantCounts(t, "a newer state", x.commit(conversationChange(orgA, "v1", "c1", 2, []string{"new"}, nil)), map[string]int64{"load/transcripts/updated": 1})
	if got := x.lines(`SELECT content FROM knowledge`); len(got) > 0 {
		t.Errorf("knowledge without a customer: %v", got)
	}
	x.commit(contactChange(orgA, "c1", 1, nil))
	if got := x.lines(`SELECT k.content || ' ' || u.source_id || ' ' || v.source_id FROM knowledge k JOIN end_users u ON u.id = k.end_user_id JOIN transcripts v ON v.id = k.transcript_id AND v.end_user_id = u.id`); cmp.Diff([]string{"new c1 v1"}, got) != "" {
		t.Errorf("knowledge when the customer has come: %v", got)
	}
	if got := x.table(`SELECT * FROM ingest.pending_links`); len(got) > 0 {
		t.Errorf("still waiting: %v", got)
	}
	x.commit(goneChange(record.KindContact, "c1", 9))
	if got := x.lines(`SELECT content FROM knowledge`); len(got) != 1 {
		t.Errorf("a deleted contact's conversation remains, and so does what it teaches: %v", got)
	}
	x.commit(goneChange(record.KindConversation, "v1", 9))
	if got := x.lines(`SELECT content FROM knowledge`); len(got) > 0 {
		t.Errorf("knowledge of a deleted conversation: %v", got)
	}
}

func TestARetractedTextIsNotKeptInWhatWaits(t *testing.T) {
	x := newLoading(t)
	x.commit(conversationChange(orgA, "v1", "c1", 1, []string{"secret"}, nil))
	x.commit(goneChange(record.KindConversation, "v1", 2))
	if got := x.lines(`SELECT coalesce(knowledge::text, '-') FROM ingest.pending_links`); cmp.Diff([]string{"-"}, got) != "" {
		t.Errorf("waiting: %v", got)
	}
	x.commit(contactChange(orgA, "c1", 1, nil))
	if got := x.lines(`SELECT (end_user_id IS NOT NULL)::text || (SELECT count(*) FROM knowledge) FROM transcripts`); got[0] != "true0" {
		t.Errorf("the link is repaired, nothing is known: %v", got)
	}
}

func TestALongConversationKeepsTheMessagesThatIntercomNoLongerGives(t *testing.T) {
	x := newLoading(t)
	part := func(n, from, to, expected int, f func([]record.Message)) record.Change {
		return conversationChange(orgA, "v1", "", n, nil, func(r *record.TranscriptRow) {
			list := messages(from, to)
			if f != nil {
				f(list)
			}
			r.ExpectedMessageCount = expected
			setMessages(r, list)
		})
	}
	state := func() string {
		return x.lines(`SELECT concat_ws(' ', message_count, expected_message_count, complete, jsonb_array_length(messages), messages->0->>'text', messages->-1->>'text') FROM transcripts`)[0]
	}
	steps := []struct {
		what    string
		change  record.Change
		outcome string
		want    string
	}{
		{"all of them", part(1, 0, 5, 5, nil), "inserted", "5 5 t 5 message 0 message 4"},
		{"the newest five of eight: all are held", part(2, 3, 8, 8, nil), "updated", "8 8 t 8 message 0 message 7"},
		{"the same again", part(2, 3, 8, 8, nil), "equal", "8 8 t 8 message 0 message 7"},
		{"the newest three of twelve: one was never seen", part(3, 9, 12, 12, nil), "updated", "11 12 f 11 message 0 message 11"},
		{"the same again", part(3, 9, 12, 12, nil), "equal", "11 12 f 11 message 0 message 11"},
		{"an older state", part(2, 3, 8, 8, nil), "stale", "11 12 f 11 message 0 message 11"},
		{"a redaction among the newest", part(4, 9, 12, 12, func(list []record.Message) { list[2].Text = "" }), "updated", "11 12 f 11 message 0 "},
		{"a complete state counts alone", part(5, 10, 12, 2, nil), "updated", "2 2 t 2 message 10 message 11"},
	}
	for _, s := range steps {
		wantCounts(t, s.what, x.commit(s.change), map[string]int64{"load/transcripts/" + s.outcome: 1})
		if got := state(); got != s.want {
			t.Errorf("%s: %s, want %s", s.what, got, s.want)
		}
		r := *s.change.Transcript
		if err := x.db.Pool().QueryRow(t.Context(), `SELECT messages, message_count, complete, source_updated_at, subject, expected_message_count FROM transcripts`).Scan(
			(*[]byte)(&r.MessagesJSON), &r.MessageCount, &r.Complete, &r.SourceUpdatedAt, &r.Subject, &r.ExpectedMessageCount); err != nil {
			t.Fatal(err)
		}
		held, err := record.ParseMessages(r.MessagesJSON)
		if err != nil {
			t.Fatal(err)
		}
		r.MessagesJSON = record.AppendMessages(nil, held)
		r.Seal(new(record.Encoder))
		if got := x.lines(`SELECT encode(content_hash, 'hex') FROM transcripts`); got[0] != r.Hash.String() {
			t.Errorf("%s: the stored hash is not that of the stored row", s.what)
		}
	}
	wantCounts(t, "two states in one batch", x.commit(part(6, 9, 12, 20, nil), part(7, 15, 20, 20, nil)), map[string]int64{"load/transcripts/updated": 2})
	if got := state(); got != "8 20 f 8 message 9 message 19" {
		t.Errorf("two states in one batch: %s", got)
	}
}

func TestOfTwoStatesOfOneSecondTheOneReadLaterCounts(t *testing.T) {
	x := newLoading(t)
	read := func(when int, subject string) record.Change {
		c := conversationChange(orgA, "v1", "", 1, nil, func(r *record.TranscriptRow) { r.Subject = subject })
		c.Version.FetchedAt = at(when)
		return c
	}
	x.commit(read(100, "text"))
	wantCounts(t, "a redaction that moved nothing else", x.commit(read(200, "redacted")), map[string]int64{"load/transcripts/updated": 1})
	wantCounts(t, "an old snapshot's state of the same second", x.commit(read(100, "text")), map[string]int64{"load/transcripts/stale": 1})
	wantCounts(t, "the state that is there, mapped in another way", x.commit(read(200, "remapped")), map[string]int64{"load/transcripts/updated": 1})
	if got := x.lines(`SELECT subject FROM transcripts`); got[0] != "remapped" {
		t.Errorf("subject: %v", got)
	}
}

func TestATombstoneAndAStateAreOrderedByTheirVersions(t *testing.T) {
	state := func(n, read int) record.Change {
		c := conversationChange(orgA, "v1", "", n, nil, nil)
		c.Version.FetchedAt = at(read)
		return c
	}
	gone := func(n, read int) record.Change {
		c := goneChange(record.KindConversation, "v1", n)
		c.Version.FetchedAt = at(read)
		return c
	}
	tests := []struct {
		name    string
		changes []record.Change
		want    []string
	}{
		{"a state and a newer tombstone", []record.Change{state(1, 100), gone(2, 200)}, []string{"v1 v1 deleted 2"}},
		{"an old state after the tombstone makes a deleted row", []record.Change{gone(2, 200), state(1, 100)}, []string{"v1 v1 deleted 2"}},
		{"a newer state revives", []record.Change{state(1, 100), gone(2, 200), state(3, 300)}, []string{"v1 v3 there"}},
		{"a late tombstone of before", []record.Change{state(3, 300), gone(2, 200)}, []string{"v1 v3 there"}},
		{"a state that is older than a known tombstone, but newer than the row", []record.Change{state(1, 100), gone(5, 500), state(3, 300)}, []string{"v1 v3 deleted 5"}},
		{"in one second, the tombstone read later", []record.Change{state(2, 100), gone(2, 200)}, []string{"v1 v2 deleted 2"}},
		{"in one second, the state read later", []record.Change{gone(2, 200), state(2, 300)}, []string{"v1 v2 there"}},
		{"in one second and one read, the tombstone", []record.Change{state(2, 200), gone(2, 200)}, []string{"v1 v2 deleted 2"}},
		{"a state dated ahead, then found gone", []record.Change{state(9, 100), gone(2, 200)}, []string{"v1 v9 deleted 2"}},
		{"found gone, then a state dated ahead that was read before", []record.Change{gone(2, 200), state(9, 100)}, []string{"v1 v9 deleted 2"}},
		{"a state dated ahead that was read after it was found gone", []record.Change{gone(2, 200), state(9, 300)}, []string{"v1 v9 there"}},
		{"listed as deleted before the state is dated, but listed later", []record.Change{state(9, 300), gone(5, 100), gone(2, 400)}, []string{"v1 v9 deleted 5"}},
		{"an old state that an index still shows later", []record.Change{state(1, 100), gone(5, 200), state(3, 300)}, []string{"v1 v3 deleted 5"}},
		{"a tombstone of what was never seen makes no row", []record.Change{gone(2, 200)}, nil},
	}
	x := newLoading(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x.exec(`TRUNCATE transcripts, ingest.tombstones`)
			for _, c := range tt.changes {
				x.commit(c)
			}
			sql := `SELECT subject || coalesce(' deleted ' || extract(second FROM deleted_at)::int, ' there') FROM transcripts`
			if diff := cmp.Diff(tt.want, x.lines(sql)); diff != "" {
				t.Errorf("one by one (-want +got):\n%s", diff)
			}
			x.exec(`TRUNCATE transcripts, ingest.tombstones`)
			x.commit(tt.changes...)
			if diff := cmp.Diff(tt.want, x.lines(sql)); diff != "" {
				t.Errorf("in one batch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARowThatSomebodyElseMadeMeanwhileIsMerged(t *testing.T) {
	x := newLoading(t)
	y := loadingOn(t, x.db, x.lease, "other")
	newer := conversationChange(orgA, "v1", "", 5, []string{"k"}, nil)
	x.sink.fault = func(point string) error {
		if point == "probed" {
			x.sink.fault = func(string) error { return nil }
			// The other sink knows nothing of the first one's transaction.
			y.commit(newer)
		}
		return nil
	}
	got := x.commit(conversationChange(orgA, "v0", "", 1, nil, nil), conversationChange(orgA, "v1", "", 3, []string{"k"}, nil), conversationChange(orgA, "v2", "", 3, nil, nil))
	wantCounts(t, "the batch", got, map[string]int64{"load/transcripts/inserted": 2, "load/transcripts/stale": 1})
	if diff := cmp.Diff([]string{"v0 v1", "v1 v5", "v2 v3"}, x.lines(`SELECT subject FROM transcripts`)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestKnowledgeThatIsLeftOverDoesNotStopItsTranscript(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	x.exec(`DELETE FROM transcripts`)
	wantCounts(t, "the same again", x.commit(family(orgA, 1)...), map[string]int64{
		"load/companies/equal": 1, "load/end_users/equal": 1, "load/tickets/equal": 1, "load/transcripts/inserted": 1, "load/knowledge/updated": 2})
}

func TestRowsThatHaloErasedAreMadeAgain(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	x.exec(`DELETE FROM end_users`)
	x.exec(`DELETE FROM companies`)
	wantCounts(t, "the same again", x.commit(family(orgA, 1)...), map[string]int64{
		"load/companies/inserted": 1, "load/end_users/inserted": 1, "load/tickets/equal": 1, "load/transcripts/equal": 1})
}

// Two sinks of one organisation work at once, one on people and one on conversations and tickets. However they interleave, no link and no knowledge
// may be missed.
func TestSinksThatWorkAtOnceMissNoLink(t *testing.T) {
	x := newLoading(t)
	const n = 60
	var people, talk []record.Change
	for i := range n {
		id := fmt.Sprint(i)
		people = append(people, contactChange(orgA, "c"+id, 1, func(r *record.EndUserRow) { r.Companies = []string{"k" + fmt.Sprint(i%7)} }))
		if i < 7 {
			people = append(people, companyChange(orgA, "k"+id, 1, nil))
		}
		talk = append(talk, conversationChange(orgA, "v"+id, "c"+id, 1, []string{"one", "two"}, nil), ticketChange(orgA, "t"+id, "c"+id, 1, func(r *record.TicketRow) { r.ConversationID = "v" + id }))
	}
	for i := range n { // and every third is merged into the next, in another order
		if i%3 == 0 {
			people = append(people, mergedChange(fmt.Sprint("c", i), fmt.Sprint("c", i+1), 5))
		}
	}
	slices.Reverse(talk)
	tickets := slices.DeleteFunc(slices.Clone(talk), func(c record.Change) bool { return c.Kind != record.KindTicket })
	conversations := slices.DeleteFunc(slices.Clone(talk), func(c record.Change) bool { return c.Kind == record.KindTicket })
	var group sync.WaitGroup
	for i, list := range [][]record.Change{people, conversations, tickets} {
		y := loadingOn(t, x.db, x.lease, fmt.Sprint("stream ", i))
		group.Go(func() {
			for part := range slices.Chunk(list, 5) {
				if err := y.try(part...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	sql := `SELECT concat_ws(' ', 'v', v.source_id, u.source_id, k.source_id) FROM transcripts v LEFT JOIN end_users u ON u.id = v.end_user_id LEFT JOIN companies k ON k.id = v.company_id
		UNION ALL SELECT concat_ws(' ', 't', t.source_id, u.source_id, k.source_id, v.source_id) FROM tickets t LEFT JOIN end_users u ON u.id = t.end_user_id
			LEFT JOIN companies k ON k.id = t.company_id LEFT JOIN transcripts v ON v.id = t.transcript_id
		UNION ALL SELECT concat_ws(' ', 'n', n.source_id, u.source_id, k.source_id, count(*)) FROM knowledge n LEFT JOIN end_users u ON u.id = n.end_user_id LEFT JOIN companies k ON k.id = n.company_id
			GROUP BY n.source_id, u.source_id, k.source_id`
	var want []string
	for i := range n {
		owner := i
		if i%3 == 0 {
			owner++
		}
		want = append(want, fmt.Sprintf("v v%d c%d k%d", i, owner, owner%7), fmt.Sprintf("t t%d c%d k%d v%d", i, owner, owner%7, i), fmt.Sprintf("n v%d c%d k%d 2", i, owner, owner%7))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, x.lines(sql)); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if got := x.table(`SELECT * FROM ingest.pending_links`); len(got) > 0 {
		t.Errorf("still waiting: %v", got)
	}
}

func TestATicketIsLinkedToItsConversationWhicheverComesFirst(t *testing.T) {
	for _, order := range []string{"vt", "tv"} {
		x := newLoading(t)
		for _, what := range order {
			if what == 'v' {
				x.commit(conversationChange(orgA, "v1", "", 1, nil, nil))
			} else {
				x.commit(ticketChange(orgA, "t1", "", 1, func(r *record.TicketRow) {
					r.ConversationID, r.Metadata = "v1", json.RawMessage(`{"source":"intercom"}`)
				}))
			}
		}
		if got := x.lines(`SELECT (t.transcript_id = v.id)::text FROM tickets t, transcripts v`); got[0] != "true" {
			t.Errorf("%s: linked %v", order, got)
		}
	}
}
