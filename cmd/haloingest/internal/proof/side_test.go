package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/halo"
)

var org = record.UUID{0x11, 1: 0x22, 6: 0x40, 8: 0x80, 15: 1}

func long() bool { return os.Getenv("HALOINGEST_PROOF") == "long" }

// held is a side that has the newest states of objects in memory, as a snapshot has.
type held struct {
	changes map[string]record.Change // by kind and id
	moves   bool
}

func newHeld() *held { return &held{changes: make(map[string]record.Change)} }

func key(kind record.Kind, id string) string { return string(kind) + " " + id }

// add keeps a change if it is newer than what is there.
func (h *held) add(c record.Change) {
	k := key(c.Kind, c.SourceID)
	if old, ok := h.changes[k]; !ok || c.Supersedes(&old) {
		h.changes[k] = c
	}
}

func (h *held) Name() string { return "snapshot:test" }
func (h *held) Moves() bool  { return h.moves }

func (h *held) Fingerprints(_ context.Context, entity string, _ diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		var batch []record.Fingerprint
		for _, c := range h.changes {
			switch f, ok := c.KnowledgeFingerprint(); {
			case c.Kind != diff.Kind(entity):
			case entity != "knowledge":
				batch = append(batch, c.Fingerprint())
			case ok:
				batch = append(batch, f)
			}
		}
		yield(batch, nil)
	}
}

func (h *held) Fetch(_ context.Context, entity string, ids []string) ([]diff.Object, error) {
	var list []diff.Object
	for _, id := range ids {
		if c, ok := h.changes[key(diff.Kind(entity), id)]; ok {
			o := diff.Object{SourceID: id, Version: c.Version, Change: c}
			if c.Gone != nil {
				o.State = record.FingerprintGone
			}
			list = append(list, o)
		}
	}
	return list, nil
}

// database is one with the real sink at work in it.
type database struct {
	tb   testing.TB
	db   *postgres.DB
	run  *postgres.Run
	sink pipeline.Sink[record.Change]
	seq  uint64
}

func newDatabase(tb testing.TB) *database {
	tb.Helper()
	db, err := postgres.Open(tb.Context(), pgtest.New(tb), postgres.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), MaxConns: 6})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	lease, err := db.Acquire(tb.Context(), org, "proof")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = lease.Release(context.Background()) })
	run, err := db.StartRun(tb.Context(), lease, postgres.RunSpec{Kind: "proof", Restart: true})
	if err != nil {
		tb.Fatal(err)
	}
	sink := run.Sink("all", postgres.SinkOptions{})
	tb.Cleanup(func() { _ = sink.Close(context.Background()) })
	return &database{tb: tb, db: db, run: run, sink: sink}
}

func (d *database) load(changes ...record.Change) {
	d.tb.Helper()
	err := d.sink.Commit(d.tb.Context(), pipeline.Batch[record.Change]{Seq: d.seq, Items: changes, Cursor: pipeline.Cursor(fmt.Sprintf("\x01%d", d.seq))})
	if err != nil {
		d.tb.Fatalf("load: %v", err)
	}
	d.seq++
}

func (d *database) exec(sql string, args ...any) {
	d.tb.Helper()
	if _, err := d.db.Pool().Exec(d.tb.Context(), sql, args...); err != nil {
		d.tb.Fatalf("%s: %v", sql, err)
	}
}

func (d *database) texts(sql string, args ...any) []string {
	d.tb.Helper()
	rows, err := d.db.Pool().Query(d.tb.Context(), sql, args...)
	if err != nil {
		d.tb.Fatalf("%s: %v", sql, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.tb.Fatalf("%s: %v", sql, err)
	}
	return list
}

// clear empties the tables.
func (d *database) clear() {
	d.exec(`TRUNCATE end_users, companies, transcripts, tickets, knowledge, ingest.id_map, ingest.pending_links, ingest.contact_companies, ingest.tombstones, ingest.rejects`)
}

// compare runs a diff and returns its report with all findings.
func (d *database) compare(left diff.Side, o diff.Options) (diff.Report, []diff.Finding) {
	d.tb.Helper()
	right, err := halo.Open(d.tb.Context(), d.db.Pool(), org)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer right.Close(d.tb.Context())
	var found []diff.Finding
	o.Org, o.TempDir, o.ShowValues = org, d.tb.TempDir(), true
	o.Findings = diff.FindingsFunc(func(_ context.Context, f diff.Finding, _, _ *diff.Object) error { found = append(found, f); return nil })
	if o.Pause == 0 {
		o.Pause = time.Millisecond
	}
	report, err := diff.Compare(d.tb.Context(), left, right, o)
	if err != nil {
		d.tb.Errorf("compare: %v", err)
	}
	return report, found
}

func describe(f diff.Finding) string {
	text, _ := json.Marshal(f)
	return string(text)
}
