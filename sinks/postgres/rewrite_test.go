package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// world is every row of an organisation's five tables and its state, without what depends on the run and why objects are bound.
func (x *loading) world() []string {
	x.tb.Helper()
	var parts []string
	for _, table := range []string{"public.end_users", "public.companies", "public.transcripts", "public.tickets", "public.knowledge",
		"ingest.id_map", "ingest.pending_links", "ingest.contact_companies", "ingest.tombstones"} {
		parts = append(parts, `SELECT '`+table+` ' || (to_jsonb(r) - '{run_id,created_at,updated_at,fetched_at,embedding,reason}'::text[])::text FROM `+table+` r WHERE org_id = $1`)
	}
	return x.lines(strings.Join(parts, " UNION ALL "), x.lease.org)
}

// The family with a second conversation that waits for a contact, and one that is deleted.
func repairable(n int) []record.Change {
	list := append(family(orgA, n), conversationChange(orgA, "v2", "missing", n, []string{"waits"}, nil),
		conversationChange(orgA, "v3", "c1", n, []string{"going"}, nil), goneChange(record.KindConversation, "v3", n+1),
		contactChange(orgA, "bare", n, func(r *record.EndUserRow) { r.CustomFields = []byte(`{"plan":"pro"}`) }))
	for i := range list {
		// It is read again later, as a repair does.
		list[i].Version.FetchedAt = at(1_000_000 + n)
	}
	return list
}

func TestARewriteMendsWhatSomebodyChangedBehindTheDigests(t *testing.T) {
	tests := map[string]string{
		"a subject":                   `UPDATE transcripts SET subject = 'x' WHERE source_id = 'v1'`,
		"messages":                    `UPDATE transcripts SET messages = '[]', message_count = 0 WHERE source_id = 'v1'`,
		"a conversation's links":      `UPDATE transcripts SET end_user_id = NULL, company_id = gen_random_uuid() WHERE source_id = 'v1'`,
		"a conversation's deletion":   `UPDATE transcripts SET deleted_at = now() WHERE source_id = 'v1'`,
		"a conversation's return":     `UPDATE transcripts SET deleted_at = NULL WHERE source_id = 'v3'`,
		"a conversation that is gone": `DELETE FROM transcripts WHERE source_id = 'v1'`,
		"a conversation's time":       `UPDATE transcripts SET source_updated_at = source_updated_at + interval '1 day'`,
		"a conversation's time and messages": `UPDATE transcripts SET source_updated_at = source_updated_at + interval '1 day', messages = '[]', message_count = 0
			WHERE source_id = 'v1'`,
		"a ticket's time":       `UPDATE tickets SET source_updated_at = source_updated_at + interval '1 day'`,
		"a contact's time":      `UPDATE end_users SET source_updated_at = source_updated_at + interval '1 day'`,
		"a company's time":      `UPDATE companies SET source_updated_at = source_updated_at + interval '1 day'`,
		"the times of bindings": `UPDATE ingest.id_map SET source_updated_at = source_updated_at + interval '1 day'`,
		"a contact's times, and its name": `UPDATE end_users SET source_updated_at = source_updated_at + interval '1 day', name = 'x';
			UPDATE ingest.id_map SET source_updated_at = source_updated_at + interval '1 day'`,
		"a ticket":                            `UPDATE tickets SET status = 'resolved', transcript_id = NULL`,
		"a ticket that is gone":               `DELETE FROM tickets`,
		"a name":                              `UPDATE end_users SET name = 'x', avatar = 'y' WHERE source_id = 'c1'`,
		"a document":                          `UPDATE end_users SET custom_fields = '{"plan": "x"}', context = '{"intercom_tag": 1}' WHERE source_id = 'bare'`,
		"an external id":                      `UPDATE end_users SET external_id = 'x' WHERE source_id = 'c1'`,
		"an external id where there was none": `UPDATE end_users SET external_id = 'x' WHERE source_id = 'bare'`,
		"a contact's company":                 `UPDATE end_users SET company_id = NULL`,
		"a contact that is gone":              `DELETE FROM end_users WHERE source_id = 'c1'`,
		"a company that is gone":              `DELETE FROM companies`,
		"a binding that is gone":              `DELETE FROM ingest.id_map WHERE source_id = 'c1'`,
		"a binding's content":                 `UPDATE ingest.id_map SET external_id = 'x', content_hash = NULL, companies = '{}', rank = 9`,
		"a deletion of a contact":             `UPDATE end_users SET deleted_at = now()`,
		"content of knowledge":                `UPDATE knowledge SET content = 'x'`,
		"scope of knowledge":                  `UPDATE knowledge SET end_user_id = gen_random_uuid()`,
		"knowledge that hangs elsewhere":      `UPDATE knowledge SET transcript_id = gen_random_uuid()`,
		"knowledge that hangs nowhere":        `UPDATE knowledge SET transcript_id = NULL`,
		"knowledge that is gone":              `DELETE FROM knowledge`,
		"knowledge that was added": `INSERT INTO knowledge (org_id, id, key, kind, content, transcript_id, source_id)
			SELECT org_id, gen_random_uuid(), 'intercom:conversation:v1', 'fact', 'invented', id, source_id FROM transcripts`,
		"knowledge that was added elsewhere": `INSERT INTO knowledge (org_id, id, key, kind, content, source_id)
			SELECT org_id, gen_random_uuid(), 'distilled:intercom:conversation:v1', 'fact', 'invented', source_id FROM transcripts`,
		"a conversation without its knowledge": `DELETE FROM transcripts WHERE source_id = 'v1';
			INSERT INTO knowledge (org_id, id, key, kind, content, transcript_id) SELECT org_id, gen_random_uuid(), key, 'fact', 'invented', transcript_id FROM knowledge`,
		"what waits": `DELETE FROM ingest.pending_links`,
	}
	x := newLoading(t)
	x.commit(repairable(1)...)
	want := x.world()
	mender := startRun(t, x.lease, RunSpec{Kind: "mend"}).Sink("all", SinkOptions{Rewrite: true})
	defer mender.Close(t.Context())
	seq := uint64(0)
	for name, sql := range tests {
		for part := range strings.SplitSeq(sql, ";") {
			x.exec(part)
		}
		if cmp.Diff(want, x.world()) == "" {
			t.Errorf("%s: nothing was changed", name)
		}
		again := repairable(1)
		for i := range again {
			again[i].Version.FetchedAt = at(1_000_010 + int(seq))
		}
		if err := mender.Commit(t.Context(), pipeline.Batch[record.Change]{Seq: seq, Items: again}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		seq++
		if diff := cmp.Diff(want, x.world()); diff != "" {
			t.Fatalf("%s (-before +after the rewrite):\n%s", name, diff)
		}
	}
}

func TestARewriteLeavesAloneWhatIsNewer(t *testing.T) {
	x := newLoading(t)
	x.commit(repairable(3)...)
	want := x.world()
	x.sink.options.Rewrite = true
	counts := x.commit(repairable(1)...)
	if diff := cmp.Diff(want, x.world()); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	for name := range counts {
		if !strings.HasSuffix(name, "/stale") && name != "load/transcripts/equal" {
			t.Errorf("the rewrite counts %s %d", name, counts[name])
		}
	}
}

func TestARewriteBuriesWhatClaimsATimeThatIsYetToCome(t *testing.T) {
	x := newLoading(t)
	x.commit(repairable(1)...)
	x.exec(`UPDATE transcripts SET source_updated_at = source_updated_at + interval '1 day'`)
	x.exec(`UPDATE tickets SET source_updated_at = source_updated_at + interval '1 day'`)
	x.exec(`UPDATE ingest.id_map SET source_updated_at = source_updated_at + interval '1 day'`)
	x.sink.options.Rewrite = true
	var gone []record.Change
	for id, kind := range map[string]record.Kind{"v1": record.KindConversation, "t1": record.KindTicket, "bare": record.KindContact} {
		c := goneChange(kind, id, 5)
		c.Version.FetchedAt = at(1_000_005)
		gone = append(gone, c)
	}
	x.commit(gone...)
	const deleted = `SELECT deleted_at IS NOT NULL FROM `
	for _, sql := range []string{deleted + `transcripts WHERE source_id = 'v1'`, deleted + `tickets WHERE source_id = 't1'`, deleted + `end_users WHERE source_id = 'bare'`,
		`SELECT count(*) = 0 FROM knowledge WHERE source_id = 'v1'`} {
		if got := fmt.Sprint(x.table(sql)); got != "[(t)]" {
			t.Errorf("%s: %s", sql, got)
		}
	}
}

func TestARewriteKeepsWhatIsHalos(t *testing.T) {
	x := newLoading(t)
	x.exec(`INSERT INTO end_users (org_id, id, external_id, name, custom_fields) VALUES ($1, gen_random_uuid(), 'u1', 'Halo''s', '{"own": 1}')`, orgA)
	x.commit(repairable(1)...)
	want := x.world()
	x.sink.options.Rewrite = true
	x.commit(repairable(1)...)
	if diff := cmp.Diff(want, x.world()); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	if got := fmt.Sprint(x.table(`SELECT custom_fields->'own', external_id FROM end_users WHERE source_id = 'c1'`)); got != "[(1,u1)]" {
		t.Errorf("Halo's row: %s", got)
	}
}
