package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// dumped is every value that a run may change, as PostgreSQL prints it.
var dumped = []string{"public.end_users", "public.companies", "public.transcripts", "public.tickets", "public.knowledge",
	"ingest.id_map", "ingest.pending_links", "ingest.contact_companies", "ingest.tombstones",
	"(SELECT org_id, id, run_id, stream, cause, stage, kind, source_id, field, reason, created_at, last_seen_at, times, resolved_at FROM ingest.rejects)",
	"(SELECT org_id, last_synced_at, synced_to FROM ingest.connections)"}

func (x *loading) dump() []string {
	x.tb.Helper()
	var parts []string
	for _, table := range dumped {
		name := strings.Trim(strings.Fields(table)[len(strings.Fields(table))-1], ")")
		parts = append(parts, `SELECT '`+name+` ' || r::text FROM `+table+` r WHERE org_id = $1`)
	}
	return x.lines(strings.Join(parts, " UNION ALL "), x.lease.org)
}

// batches are random events, in random order, of a small world in which much is shared, moved, merged and deleted.
func batches(t *rapid.T, org record.UUID, now int) [][]record.Change {
	contacts, companies := []string{"a", "b", "c", "d"}, []string{"k1", "k2"}
	conversations, tickets := []string{"v1", "v2", "v3"}, []string{"t1", "t2"}
	maybe := func(list []string, label string) string {
		return rapid.SampledFrom(append([]string{""}, list...)).Draw(t, label)
	}
	var all [][]record.Change
	for range rapid.IntRange(1, 3).Draw(t, "batches") {
		var batch []record.Change
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			n := now + rapid.IntRange(0, 3).Draw(t, "n")
			var c record.Change
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0, 1, 2:
				c = contactChange(org, rapid.SampledFrom(contacts).Draw(t, "contact"), n, func(r *record.EndUserRow) {
					r.Companies = rapid.SampledFrom([][]string{nil, {"k1"}, {"k1", "k2"}}).Draw(t, "of")
					r.Email = rapid.SampledFrom([]string{"", "one@x.org", "two@x.org"}).Draw(t, "email")
					r.ExternalID = rapid.SampledFrom([]string{"", "x1", "x2"}).Draw(t, "external")
					r.CustomFields = []byte(fmt.Sprintf(`{"n":%d}`, n))
					if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
						r.Name = "a\x00b"
					}
				})
			case 3:
				c = companyChange(org, rapid.SampledFrom(companies).Draw(t, "company"), n, func(r *record.CompanyRow) { r.LastRequestAt = at(n) })
			case 4, 5:
				var learnt []string
				for range rapid.IntRange(0, 3).Draw(t, "learnt") {
					learnt = append(learnt, rapid.SampledFrom([]string{"old", "new"}).Draw(t, "text"))
				}
				c = conversationChange(org, rapid.SampledFrom(conversations).Draw(t, "conversation"), maybe(contacts, "its contact"), n, learnt, func(r *record.TranscriptRow) {
					r.CompanyID = maybe(companies, "its company")
				})
			case 6:
				c = ticketChange(org, rapid.SampledFrom(tickets).Draw(t, "ticket"), maybe(contacts, "its contact"), n, func(r *record.TicketRow) {
					r.CompanyID, r.ConversationID = maybe(companies, "its company"), maybe(conversations, "also")
				})
			case 7:
				c = goneChange(record.KindConversation, rapid.SampledFrom(conversations).Draw(t, "gone"), n)
			case 8:
				i := rapid.IntRange(0, 2).Draw(t, "merged")
				c = mergedChange(contacts[i], contacts[i+1], n)
			default:
				kind := rapid.SampledFrom([]record.Kind{record.KindContact, record.KindCompany, record.KindTicket}).Draw(t, "gone kind")
				c = goneChange(kind, map[record.Kind]string{record.KindContact: "a", record.KindCompany: "k1", record.KindTicket: "t1"}[kind], n)
			}
			batch = append(batch, c)
		}
		all = append(all, batch)
	}
	return all
}

// load is a whole run.
func (x *loading) load(t *rapid.T, kind string, o SinkOptions, list [][]record.Change, synced int) *Run {
	run, err := x.db.StartRun(context.Background(), x.lease, RunSpec{Kind: kind, Restart: true})
	if err != nil {
		t.Fatal(err)
	}
	o.Rejects = pipeline.RejectLimit{Share: -1}
	sink := run.Sink("all", o)
	defer sink.Close(context.Background())
	for i, batch := range list {
		if err := sink.Commit(context.Background(), pipeline.Batch[record.Change]{Seq: uint64(i), Items: batch}); err != nil {
			t.Fatal(err)
		}
	}
	if err := run.Finish(context.Background(), Outcome{State: RunComplete, SyncedTo: at(synced)}); err != nil {
		t.Fatal(err)
	}
	return run
}

func TestUndoingTheLastRunsLeavesEverythingAsItWasBeforeThem(t *testing.T) {
	checks := "25"
	if long() {
		checks = "3000"
	}
	fewer(t, checks)
	db := newDB(t)
	outer := &loading{tb: t, db: db}
	outer.exec(`ALTER TABLE end_users ADD COLUMN renewal numeric; `)
	outer.exec(`ALTER TABLE knowledge ADD COLUMN boost real, ADD COLUMN words int GENERATED ALWAYS AS (length(content)) STORED`)
	var orgs atomic.Uint32
	rapid.Check(t, func(t *rapid.T) {
		n := orgs.Add(1)
		org := record.UUID{0xdd, byte(n >> 16), byte(n >> 8), byte(n)}
		lease, err := db.Acquire(context.Background(), org, "undo")
		if err != nil {
			t.Fatal(err)
		}
		defer lease.Release(context.Background())
		x := &loading{tb: &testingT{T: t}, db: db, lease: lease}
		x.exec(`INSERT INTO ingest.connections (org_id, region, workspace_id) VALUES ($1, 'us', 'w')`, org)
		x.exec(`INSERT INTO end_users (org_id, id, external_id, email, name, custom_fields, context, renewal)
			VALUES ($1, gen_random_uuid(), 'x1', NULL, 'Halo''s', 'null', '{"a": null}', 12.50), ($1, gen_random_uuid(), NULL, ' TWO@x.org', NULL, '{"own": [1.0, 1e30]}', 'null', NULL)`, org)
		before := rapid.IntRange(0, 2).Draw(t, "runs before")
		for i := range before {
			x.load(t, "sync", SinkOptions{}, batches(t, org, 10*i), i)
			x.exec(`UPDATE knowledge SET embedding = '{0.1,-3e-7,NaN}', boost = 0.3, metadata = CASE WHEN chunk_index = 0 THEN 'null' ELSE metadata END WHERE org_id = $1 AND chunk_index < 2`, org)
		}
		want := x.dump()
		var runs []record.UUID
		var last [][][]record.Change
		for i := range rapid.IntRange(1, 2).Draw(t, "runs to undo") {
			list := batches(t, org, 10*before+4*i)
			rewrite := rapid.Bool().Draw(t, "rewrite")
			last = append(last, list)
			runs = append(runs, x.load(t, "sync", SinkOptions{Rewrite: rewrite}, list, before+i).ID)
		}
		loaded := x.world()
		if _, err := db.Undo(context.Background(), lease, runs, nil); err != nil {
			t.Fatalf("undo: %v", err)
		}
		if diff := cmp.Diff(want, x.dump()); diff != "" {
			t.Fatalf("rows (-before the runs +after undoing them):\n%s", diff)
		}
		if left := x.lines(`SELECT table_name || ' ' || row_key FROM ingest.before_images WHERE org_id = $1 AND run_id = ANY ($2)`, org, runs); len(left) > 0 {
			t.Errorf("images are left: %v", left)
		}
		for i, list := range last {
			x.load(t, "sync", SinkOptions{}, list, before+i)
		}
		if diff := cmp.Diff(loaded, x.world()); diff != "" {
			t.Fatalf("rows (-loaded first +loaded again):\n%s", diff)
		}
	})
}
