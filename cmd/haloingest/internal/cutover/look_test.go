package cutover

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// place is a database with the schema and one connected organisation, to be filled by plain SQL.
type place struct {
	t     *testing.T
	store Store
	url   string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	url := pgtest.New(t)
	db, err := postgres.Open(t.Context(), url, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, url: url, store: Store{DB: db, Connections: connection.NewStore(db.Pool(), secret.MasterKey{DataDir: t.TempDir()})}}
	p.sql(`INSERT INTO ingest.connections (org_id, region, workspace_id, workspace_name, token, last_synced_at, synced_to)
		VALUES ('ORG', 'eu', 'abc', 'Acme', '\x00', now() - interval '10 minutes', now() - interval '11 minutes')`)
	return p
}

// sql runs statements in which ORG stands for the organisation and OTHER for one that must not matter.
func (p *place) sql(text string, args ...any) {
	p.t.Helper()
	text = strings.NewReplacer("ORG", org.String(), "OTHER", record.UUID{0xee}.String(), "RUN1", record.UUID{1}.String(), "RUN2", record.UUID{2}.String(), "RUN3", record.UUID{3}.String()).Replace(text)
	if _, err := p.store.DB.Pool().Exec(p.t.Context(), text, args...); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

func (p *place) look() Evidence {
	p.t.Helper()
	e, err := Look(p.t.Context(), p.store, org, nil, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if len(e.Missed) > 0 {
		p.t.Fatalf("not looked at: %v", e.Missed)
	}
	return e
}

func TestAnOrganisationThatWasNeverConnectedHasNoChecklist(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if _, err := Look(t.Context(), p.store, record.UUID{0xee}, nil, nil); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("error %v", err)
	}
}

func TestTheRightBackfillsAreFound(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if e := p.look(); len(e.Walks) > 0 || e.Unfinished != nil || e.Replay != nil || e.Wrote != nil {
		t.Errorf("there is nothing, and it found %+v", e)
	}
	// RUN1 has read contacts, RUN2 has read everything but tickets, which it skipped. The others are of a part, unfinished, undone, or another's.
	p.sql(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, started_at, finished_at, undone_at) VALUES
		('ORG', 'RUN1', 'backfill', '{"only":["contacts"],"params":{"user_id_field":"id","company_id_field":"name"}}', 'complete', now() - interval '1 hour', now() - interval '50 minutes', NULL),
		('ORG', gen_random_uuid(), 'backfill', '{"since":"2026-01-01T00:00:00Z"}', 'complete', now() - interval '1 hour', now() - interval '49 minutes', NULL),
		('ORG', gen_random_uuid(), 'backfill', '{"sample":10}', 'complete', now() - interval '1 hour', now() - interval '48 minutes', NULL),
		('ORG', 'RUN2', 'backfill', '{"track":true}', 'complete', now() - interval '3 hours', now() - interval '2 hours', NULL),
		('ORG', gen_random_uuid(), 'backfill', '{}', 'complete', now() - interval '1 hour', now() - interval '47 minutes', now()),
		('ORG', gen_random_uuid(), 'backfill', '{}', 'abandoned', now() - interval '1 hour', NULL, NULL),
		('ORG', 'RUN3', 'backfill', '{}', 'failed', now() - interval '1 hour', NULL, NULL),
		('ORG', gen_random_uuid(), 'sync', '{}', 'complete', now() - interval '1 hour', now() - interval '46 minutes', NULL),
		('OTHER', gen_random_uuid(), 'backfill', '{}', 'complete', now(), now(), NULL)`)
	p.sql(`INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq, complete, skipped)
		SELECT r.org_id, r.id, s, 1, 1, NOT (r.id = 'RUN2' AND s = 'tickets'), CASE WHEN r.id = 'RUN2' AND s = 'tickets' THEN 'no permission' END
		FROM ingest.runs r, unnest('{companies,contacts,conversations,tickets,deleted-conversations}'::text[]) s WHERE r.id <> 'RUN3'`)
	e := p.look()
	var got []string
	for _, w := range e.Walks {
		got = append(got, fmt.Sprintf("%d %s %s", w.Run[0], w.Stream, w.UserIDField))
	}
	if diff := cmp.Diff([]string{"1 contacts id", "2 companies ", "2 contacts ", "2 conversations "}, got); diff != "" {
		t.Errorf("walks (-want +got):\n%s", diff)
	}
	if e.Unfinished == nil || e.Unfinished.ID != (record.UUID{3}) {
		t.Errorf("the unfinished one is %+v", e.Unfinished)
	}
}

func TestTheLastRunThatWroteIsFound(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.sql(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, started_at) VALUES ('ORG', 'RUN1', 'backfill', '{}', 'complete', now() - interval '3 hours'),
		('ORG', 'RUN2', 'sync', '{}', 'complete', now() - interval '2 hours'), ('ORG', 'RUN3', 'sync', '{}', 'running', now() - interval '1 hour'), ('OTHER', 'RUN3', 'sync', '{}', 'complete', now())`)
	p.sql(`INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq, counts, updated_at) VALUES
		('ORG', 'RUN1', 'contacts', 1, 1, '{"load/end_users/inserted":5}', '2026-01-01Z'), ('ORG', 'RUN1', 'tickets', 1, 1, '{"load/tickets/inserted":1}', '2026-01-02Z'),
		('ORG', 'RUN2', 'contacts', 1, 1, '{"load/end_users/equal":5,"load/end_users/stale":1,"load/end_users/rejected":2,"load/end_users/updated":0,"unmapped/x":7}', '2026-01-03Z'),
		('OTHER', 'RUN3', 'contacts', 1, 1, '{"load/end_users/inserted":5}', '2026-01-05Z')`)
	want := func(run record.UUID, kind, at string) {
		t.Helper()
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if e := p.look(); e.Wrote == nil || e.Wrote.Run != run || e.Wrote.Kind != kind || !e.Wrote.At.Equal(when) {
			t.Errorf("it found %+v, want %s %s", e.Wrote, kind, at)
		}
	}
	want(record.UUID{1}, "backfill", "2026-01-02T00:00:00Z") // RUN2 wrote nothing
	p.sql(`INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq, counts, updated_at) VALUES ('ORG', 'RUN3', 'conversations', 1, 1, '{"load/knowledge/relinked":1}', '2026-01-04Z')`)
	want(record.UUID{3}, "sync", "2026-01-04T00:00:00Z") // and it is still going on
	p.sql(`UPDATE ingest.runs SET undone_at = '2026-01-06Z' WHERE org_id = 'ORG' AND id = 'RUN1'`)
	want(record.UUID{1}, "undoing of backfill", "2026-01-06T00:00:00Z")
}

func TestDeliveriesAreCounted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if e := p.look(); e.Inbox != (Inbox{}) {
		t.Errorf("%+v", e.Inbox)
	}
	p.sql(`INSERT INTO ingest.webhook_inbox (org_id, body, received_at, done_at, error) VALUES
		('ORG', '', '2026-01-01Z', '2026-01-01Z', NULL), ('ORG', '', '2026-01-02Z', NULL, NULL), ('ORG', '', '2026-01-03Z', NULL, 'first'), ('ORG', '', '2026-01-04Z', NULL, 'second'),
		('ORG', '', '2026-01-05Z', now(), 'was mended'), ('OTHER', '', '2027-01-01Z', NULL, 'no')`)
	p.sql(`INSERT INTO ingest.webhook_inbox (org_id, body, received_at, parked_at, error, objects) VALUES
		('ORG', '', '2026-01-01Z', now(), 'names nothing', '{}'), ('ORG', '', '2026-01-04Z', now(), 'too often', '{contact/5}')`)
	at := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	want := Inbox{Received: 7, Open: 4, Failed: 3, Parked: 1, Nameless: 1, Newest: at(5), OldestOpen: at(2), Error: "first"}
	if diff := cmp.Diff(want, p.look().Inbox); diff != "" {
		t.Errorf("inbox (-want +got):\n%s", diff)
	}
}

func TestIncompleteConversationsAreListedTheUnexplainedFirst(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.sql(`INSERT INTO public.transcripts (org_id, id, source_id, complete, metadata, deleted_at) VALUES
		('ORG', gen_random_uuid(), 'a', false, '{"incomplete":{"held":500,"expected":612}}', NULL), ('ORG', gen_random_uuid(), 'b', false, '{"incomplete":{"held":3,"expected":5}}', NULL),
		('ORG', gen_random_uuid(), 'c', false, '{"incomplete":"odd"}', NULL), ('ORG', gen_random_uuid(), 'd', true, '{}', NULL), ('ORG', gen_random_uuid(), 'e', false, '{}', now()),
		('ORG', gen_random_uuid(), NULL, false, '{}', NULL), ('OTHER', gen_random_uuid(), 'f', false, '{}', NULL)`)
	var listed []Incomplete
	e, err := Look(t.Context(), p.store, org, nil, func(x Incomplete) error { listed = append(listed, x); return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := []Incomplete{{SourceID: "b", Held: 3, Expected: 5}, {SourceID: "c"}, {SourceID: "a", Held: 500, Expected: 612, Cut: true}}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, e.Incomplete); diff != "" || e.Cut != 1 || e.Unexplained != 2 {
		t.Errorf("%d cut, %d unexplained (-want +got):\n%s", e.Cut, e.Unexplained, diff)
	}
	p.sql(`INSERT INTO public.transcripts (org_id, id, source_id, complete, metadata) SELECT 'ORG', gen_random_uuid(), 'z' || n, false, '{"incomplete":{"held":500}}' FROM generate_series(1, 1200) n`)
	if e := p.look(); len(e.Incomplete) != mostIncomplete || e.Cut != 1201 {
		t.Errorf("%d listed, %d cut", len(e.Incomplete), e.Cut)
	}
}

// A link may wait for what Intercom does not give out; one that waits for what is there is broken.
func TestOnlyLinksToWhatIsThereAreBroken(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.sql(`INSERT INTO ingest.id_map (org_id, kind, source_id, row_id, reason, deleted_at) VALUES
		('ORG', 'contact', 'here', gen_random_uuid(), 'created', NULL), ('ORG', 'contact', 'gone', gen_random_uuid(), 'created', now()), ('OTHER', 'contact', 'theirs', gen_random_uuid(), 'created', NULL)`)
	for i := range 2500 { // more than a batch; every 500th is there
		if i%500 == 0 {
			p.sql(`INSERT INTO public.transcripts (org_id, id, source_id) VALUES ('ORG', $1, $2)`, record.RowID(org, record.KindConversation, fmt.Sprint("k", i)), fmt.Sprint("k", i))
		}
		if i%500 == 1 {
			p.sql(`INSERT INTO public.transcripts (org_id, id, source_id, deleted_at) VALUES ('ORG', $1, $2, now())`, record.RowID(org, record.KindConversation, fmt.Sprint("k", i)), fmt.Sprint("k", i))
		}
	}
	p.sql(`INSERT INTO ingest.pending_links (org_id, ref_kind, ref_id, table_name, row_id) SELECT 'ORG', 'conversation', 'k' || n, 'tickets', gen_random_uuid() FROM generate_series(0, 2499) n`)
	p.sql(`INSERT INTO ingest.pending_links (org_id, ref_kind, ref_id, table_name, row_id) VALUES
		('ORG', 'contact', 'here', 'transcripts', gen_random_uuid()), ('ORG', 'contact', 'here', 'tickets', gen_random_uuid()), ('ORG', 'contact', 'gone', 'tickets', gen_random_uuid()),
		('ORG', 'contact', 'theirs', 'tickets', gen_random_uuid()), ('ORG', 'company', 'here', 'tickets', gen_random_uuid()), ('OTHER', 'contact', 'theirs', 'tickets', gen_random_uuid())`)
	if got, want := p.look().Links, (LinkCounts{Waiting: 2505, Broken: 2 + 5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAttachmentsAreWantedOnceARunWasAskedForThem(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.sql(`INSERT INTO public.transcripts (org_id, id, source_id, messages, deleted_at) VALUES
		('ORG', gen_random_uuid(), 'a', '[{"id":"m1","attachments":[{"url":"https://x/1","name":"one","size":10},{"url":"https://x/2","size":20}]},{"id":"m2","attachments":[]}]', NULL),
		('ORG', gen_random_uuid(), 'b', '[{"id":"m3","attachments":[{"url":"https://x/3","size":40}]}]', now()),
		('OTHER', gen_random_uuid(), 'c', '[{"id":"m4","attachments":[{"url":"https://x/4","size":80}]}]', NULL)`)
	var listed int
	e, err := Look(t.Context(), p.store, org, func(postgres.Attachment) error { listed++; return nil }, nil)
	if want := (Inventory{Files: 3, Unasked: 2, Gone: 1, Bytes: 30}); err != nil || listed != 3 || !cmp.Equal(e.Attachments, want) {
		t.Errorf("%+v, want %+v; %d listed, error %v", e.Attachments, want, listed, err)
	}
	p.sql(`INSERT INTO ingest.attachments (org_id, kind, source_id, message_id, n, url, path, bytes, sha256, run_id) VALUES ('ORG', 'conversation', 'a', 'm1', 0, 'https://x/1', 'aa', 11, 'ff', 'RUN1')`)
	if got, want := p.look().Attachments, (Inventory{Wanted: true, Files: 3, Saved: 1, SavedBytes: 11, Unasked: 1, Gone: 1, Bytes: 20}); !cmp.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	p.sql(`INSERT INTO ingest.attachments (org_id, kind, source_id, message_id, n, url, error, run_id) VALUES ('ORG', 'conversation', 'a', 'm1', 1, 'https://x/2', '404', 'RUN1')`)
	if got, want := p.look().Attachments, (Inventory{Wanted: true, Files: 3, Saved: 1, SavedBytes: 11, Failed: 1, Gone: 1, Bytes: 20, Causes: []Cause{{"404", 1}}}); !cmp.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if _, err := Look(t.Context(), p.store, org, func(postgres.Attachment) error { return os.ErrClosed }, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestASnapshotIsWholeIfEveryRunThatWroteIsInIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.sql(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, started_at, finished_at) VALUES
		('ORG', 'RUN1', 'backfill', '{}', 'complete', '2026-01-01Z', '2026-01-01Z'), ('ORG', 'RUN2', 'sync', '{}', 'complete', '2026-01-02Z', '2026-01-02Z'), ('ORG', 'RUN3', 'sync', '{}', 'complete', '2026-01-03Z', '2026-01-03Z')`)
	p.sql(`INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq, counts, updated_at) VALUES ('ORG', 'RUN1', 'contacts', 1, 1, '{"load/end_users/inserted":5}', '2026-01-01T01:00Z'),
		('ORG', 'RUN1', 'companies', 1, 0, '{}', '2026-01-01T01:00Z'), ('ORG', 'RUN1', 'conversations', 1, 0, '{}', '2026-01-01T01:00Z'), ('ORG', 'RUN1', 'tickets', 1, 0, '{}', '2026-01-01T01:00Z'),
		('ORG', 'RUN2', 'contacts', 1, 1, '{"load/end_users/equal":5}', '2026-01-02T01:00Z'), ('ORG', 'RUN3', 'contacts', 1, 1, '{"load/end_users/updated":5}', '2026-01-03T01:00Z')`)
	p.sql(`UPDATE ingest.checkpoints SET complete = true`)
	file := `INSERT INTO ingest.snapshot_files (org_id, run_id, location, path, layer, stream, table_name, seq, rows, bytes, sha256, info) VALUES ('ORG', $1, $2, $3, 'rows', 'contacts', 'end_users', 1, 5, 1000, '', '{}')`
	p.sql(file, record.UUID{1}, "/s", "one")
	p.sql(file, record.UUID{1}, "/s", "two")
	e := p.look()
	if len(e.Snapshots) != 1 || !e.Snapshots[0].Walked || e.Snapshots[0].Left.Run != (record.UUID{3}) || e.Snapshots[0].Files != 2 || e.Snapshots[0].Bytes != 2000 {
		t.Errorf("RUN3 is not in it: %+v", e.Snapshots)
	}
	p.sql(file, record.UUID{3}, "/s", "three")
	if e := p.look(); !e.Snapshots[0].whole() || e.Snapshots[0].Runs != 2 {
		t.Errorf("RUN2 wrote nothing, and all others are in it: %+v", e.Snapshots)
	}
	p.sql(file, record.UUID{3}, "/elsewhere", "four")
	e = p.look()
	at := func(location string) Kept {
		i := slices.IndexFunc(e.Snapshots, func(k Kept) bool { return k.Location == location })
		if i < 0 {
			t.Fatalf("no snapshot %s: %+v", location, e.Snapshots)
		}
		return e.Snapshots[i]
	}
	if at("/elsewhere").whole() || !at("/s").whole() {
		t.Errorf("%+v", e.Snapshots)
	}
	p.sql(`UPDATE ingest.runs SET undone_at = now() WHERE id = 'RUN1'`)
	if e = p.look(); at("/s").whole() {
		t.Errorf("what the backfill wrote was undone: %+v", e.Snapshots)
	}
}

// What the page says of a report's file is what sha256sum says of it.
func TestTheHashOfAReportSurvivesTheDatabase(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	began := time.Now().UTC()
	r := diff.Report{
		Version: diff.ReportVersion, ID: record.UUID{0xd1}, Org: org, Left: "intercom", Right: "postgres", Level: diff.LevelFull, Verdict: diff.VerdictEqual, Sentence: "SAFE TO DISCONNECT: \"<all>\" & more",
		Watermark: began, StartedAt: began, FinishedAt: began.Add(time.Second + 1), Notes: []string{"10 % – “ü” \u2028 漢字"},
	}
	for _, name := range diff.Entities {
		r.Entities = append(r.Entities, diff.Entity{Name: name, Counts: diff.Counts{Source: 1 << 60, Rejected: map[string]int64{"b": 1, "a": 2}}, Samples: []diff.Finding{{Entity: name, SourceID: "1", LeftAt: began}}, Elapsed: 12345})
	}
	dir := t.TempDir()
	w, err := report.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	written, err := w.Close(r)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(dir + "/" + report.JSONFile)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if written.JSONSum() != hex.EncodeToString(sum[:]) {
		t.Fatalf("the writer says %s", written.JSONSum())
	}
	save := func(r diff.Report) {
		t.Helper()
		doc, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		err = p.store.DB.SaveDiff(t.Context(), org, postgres.DiffRun{
			ID: r.ID, Left: r.Left, Right: r.Right, Level: string(r.Level), Verdict: string(r.Verdict), Sentence: r.Sentence,
			Watermark: r.Watermark, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Report: doc,
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	save(r)
	e := p.look()
	if got := e.Proofs[r.ID]; got.SHA256 != hex.EncodeToString(sum[:]) || got.Sentence != r.Sentence {
		t.Errorf("proof %+v, want SHA-256 %x", got, sum)
	}
	c := Judge(e, Options{})
	if item := itemOf(t, c, Diff); item.Status != Pass || len(c.Proofs) != 1 || c.Proofs[0].SHA256 == "" {
		t.Errorf("%s: %s; proofs %+v", item.Status, item.Evidence, c.Proofs)
	}
	var b bytes.Buffer
	if err := HTML(&b, c); err != nil || !strings.Contains(b.String(), hex.EncodeToString(sum[:])) {
		t.Errorf("the page does not show it; error %v", err)
	}
	// A report that shows values is not kept as it is, so nothing can be said of its file.
	r.ShowValues = true
	save(r)
	if got := p.look().Proofs[r.ID]; got.SHA256 != "" {
		t.Errorf("proof %+v", got)
	}
}

func TestWhatMayNotBeReadIsSaidAndTheRestIsLookedAt(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for table, keys := range map[string][]string{
		"ingest.webhook_inbox": {Webhooks}, "ingest.rejects": {Rejects, Running, Conversations}, "ingest.pending_links": {Links, Running, Conversations}, "ingest.snapshot_files": {Snapshot}, "ingest.diff_runs": {Diff},
	} {
		// Renamed, a table answers like one that may not be read: with an error of the server's.
		p.sql(`ALTER TABLE ` + table + ` RENAME TO hidden`)
		e, err := Look(t.Context(), p.store, org, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		if len(e.Missed) != len(keys) {
			t.Errorf("%s: missed %v", table, e.Missed)
		}
		c := Judge(e, Options{})
		for _, key := range keys {
			if item := itemOf(t, c, key); item.Status != Unknown || !strings.Contains(item.Evidence, "does not exist") {
				t.Errorf("%s: %s %s: %s", table, item.Status, key, item.Evidence)
			}
		}
		schema, name, _ := strings.Cut(table, ".")
		p.sql(`ALTER TABLE ` + schema + `.hidden RENAME TO ` + name)
	}
}

func TestADatabaseThatIsGoneEndsTheLook(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Private(t)
	db, err := postgres.Open(t.Context(), cluster.URL(), postgres.Options{RetryFor: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := Store{DB: db, Connections: connection.NewStore(db.Pool(), secret.MasterKey{DataDir: t.TempDir()})}
	if _, err := db.Pool().Exec(t.Context(), `INSERT INTO ingest.connections (org_id, region, workspace_id) VALUES ($1, 'eu', '')`, org); err != nil {
		t.Fatal(err)
	}
	cluster.Stop()
	if _, err := Look(t.Context(), store, org, nil, nil); err == nil {
		t.Error("it says something of a database that is gone")
	}
}
