package cutover

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// What a page of an organisation may see is enough for its checklist, and is what the command sees: of every table that the checklist reads there is a
// row of this organisation and one of another.
func TestAPageSeesTheSameEvidenceAsTheCommand(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.sql(`INSERT INTO ingest.connections (org_id, region, workspace_id, workspace_name, token, last_synced_at, synced_to) VALUES ('OTHER', 'eu', 'xyz', 'Other', '\x00', now(), now())`)
	for _, who := range []string{"ORG", "OTHER"} {
		p.sql(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, started_at, finished_at, undone_at) VALUES
			('` + who + `', 'RUN1', 'backfill', '{"params":{"user_id_field":"external_id"}}', 'complete', now() - interval '5 hours', now() - interval '4 hours', NULL),
			('` + who + `', 'RUN2', 'replay', '{}', 'complete', now() - interval '3 hours', now() - interval '2 hours', NULL),
			('` + who + `', gen_random_uuid(), 'sync', '{}', 'complete', now() - interval '3 hours', now() - interval '2 hours', now() - interval '1 hour'),
			('` + who + `', 'RUN3', 'backfill', '{}', 'failed', now() - interval '1 hour', NULL, NULL)`)
		p.sql(`INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq, complete, counts) SELECT org_id, id, s, 1, 1, true, '{"load/end_users/inserted":5}'
			FROM ingest.runs, unnest('{companies,contacts,conversations,tickets}'::text[]) s WHERE org_id = '` + who + `' AND id = 'RUN1'`)
		p.sql(`INSERT INTO ingest.leases (org_id, holder, session, epoch, released_at) VALUES ('` + who + `', 'a process', 's', 1, now())`)
		p.sql(`INSERT INTO ingest.webhook_inbox (org_id, body, received_at, error) VALUES ('` + who + `', '', '2026-01-03Z', 'first'), ('` + who + `', '', '2026-01-04Z', NULL)`)
		p.sql(`INSERT INTO ingest.rejects (org_id, run_id, stream, cause, stage, kind, source_id, reason, payload) VALUES ('` + who + `', 'RUN1', 'tickets', 'x', 'load', 'ticket', '7', 'no', '')`)
		for _, table := range []string{"transcripts", "tickets"} {
			p.sql(`INSERT INTO public.` + table + ` (org_id, id, source_id, messages, deleted_at) VALUES
				('` + who + `', gen_random_uuid(), 'a', '[{"id":"m0"},{"id":"m1","text":"hello","attachments":[{"url":"https://x/1","name":"one","size":10},{"url":"https://x/2","size":20}]},
					{"attachments":[{"url":"https://x/0","size":1}]},7]', NULL),
				('` + who + `', gen_random_uuid(), 'b', '[{"id":"m3","attachments":[{"url":"https://x/3","size":40}]}]', now()), ('` + who + `', gen_random_uuid(), 'c', '"odd"', NULL)`)
		}
		p.sql(`INSERT INTO ingest.attachments (org_id, kind, source_id, message_id, n, url, path, bytes, sha256, error, run_id) VALUES
			('` + who + `', 'conversation', 'a', 'm1', 0, 'https://x/1', 'aa', 11, 'ff', NULL, 'RUN1'), ('` + who + `', 'conversation', 'a', 'm1', 1, 'https://x/2', NULL, NULL, NULL, '404', 'RUN1'),
			('` + who + `', 'ticket', 'a', 'inline', 100, 'https://x/9', 'bb', 5, 'ee', NULL, 'RUN1')`)
		p.sql(`INSERT INTO public.transcripts (org_id, id, source_id, complete, metadata) VALUES ('` + who + `', gen_random_uuid(), 'cut', false, '{"incomplete":{"held":500,"expected":612}}'),
			('` + who + `', gen_random_uuid(), 'short', false, '{"incomplete":{"held":1,"expected":2}}')`)
		p.sql(`INSERT INTO public.end_users (org_id, id, source_id) VALUES ('` + who + `', gen_random_uuid(), 'u')`)
		p.sql(`INSERT INTO public.companies (org_id, id, source_id) VALUES ('` + who + `', gen_random_uuid(), 'f')`)
		p.sql(`INSERT INTO ingest.id_map (org_id, kind, source_id, row_id, reason) VALUES ('` + who + `', 'contact', 'u', gen_random_uuid(), 'created')`)
		p.sql(`INSERT INTO ingest.snapshot_files (org_id, run_id, location, path, layer, stream, table_name, seq, rows, bytes, sha256, info) VALUES ('` + who + `', 'RUN1', '/s', 'one', 'rows', 'contacts', 'end_users', 1, 5, 1000, '', '{}')`)
		p.sql(`INSERT INTO ingest.pending_links (org_id, ref_kind, ref_id, table_name, row_id) SELECT '` + who + `', k, r, 'tickets', gen_random_uuid()
			FROM (VALUES ('contact', 'u'), ('contact', 'later'), ('conversation', 'k')) v(k, r)`)
	}
	p.sql(`INSERT INTO public.transcripts (org_id, id, source_id) VALUES ('ORG', $1, 'k')`, record.RowID(org, record.KindConversation, "k"))
	for _, o := range []record.UUID{org, {0xee}} {
		err := p.store.DB.SaveDiff(t.Context(), o, postgres.DiffRun{ID: record.UUID{0xd1}, Left: "intercom", Right: "postgres", Level: "full", Verdict: "different", Sentence: "no",
			Watermark: time.Now(), StartedAt: time.Now(), FinishedAt: time.Now(), Report: []byte(`{}`)}, func(yield func(postgres.DiffFinding, error) bool) {
			yield(postgres.DiffFinding{Entity: "contacts", SourceID: "u", Finding: []byte(`{}`)}, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	want := p.look()
	if want.Attachments.Saved != 2 || want.Attachments.Failed != 1 || want.Attachments.Gone != 2 || want.Links.Broken != 2 || want.Cut != 1 || want.Unexplained != 1 || len(want.Walks) != 4 ||
		want.Replay == nil || want.Unfinished == nil || len(want.Snapshots) != 1 || len(want.Proofs) != 1 || len(want.Rejects) != 1 || want.Inbox.Open != 2 || want.Status.Lease == nil {
		t.Fatalf("too little is there to be missed: %+v", want)
	}
	scoped, err := postgres.OpenScoped(t.Context(), p.url, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(scoped.Close)
	store := Store{DB: scoped, Connections: connection.NewStore(scoped.Pool(), secret.MasterKey{DataDir: t.TempDir()})}
	got, err := Look(postgres.WithOrg(t.Context(), org), store, org, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, err := range got.Missed {
		t.Errorf("%s was not looked at: %v", key, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Evidence{}, "At"), cmpopts.IgnoreFields(postgres.LeaseInfo{}, "HeartbeatAge")); diff != "" {
		t.Errorf("what the page sees (-command +page):\n%s", diff)
	}
}
