package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/snapshot"
)

// replayed are the tables that a replay has to make equal: all rows and columns, but those that may differ between two runs (contract,
// "Tables"), and those that say when this database first heard of something.
var replayed = map[string]string{
	"end_users":         "SELECT to_jsonb(t) - 'run_id' - 'embedding' FROM public.end_users t",
	"companies":         "SELECT to_jsonb(t) - 'run_id' FROM public.companies t",
	"transcripts":       "SELECT to_jsonb(t) - 'run_id' FROM public.transcripts t",
	"tickets":           "SELECT to_jsonb(t) - 'run_id' FROM public.tickets t",
	"knowledge":         "SELECT to_jsonb(t) - 'run_id' - 'embedding' - 'created_at' - 'updated_at' FROM public.knowledge t",
	"id_map":            "SELECT to_jsonb(t) - 'run_id' - 'created_at' FROM ingest.id_map t",
	"pending_links":     "SELECT to_jsonb(t) - 'run_id' FROM ingest.pending_links t",
	"tombstones":        "SELECT to_jsonb(t) - 'run_id' FROM ingest.tombstones t",
	"contact_companies": "SELECT to_jsonb(t) - 'run_id' FROM ingest.contact_companies t",
	"rejects":           "SELECT jsonb_build_array(cause, stream, stage, kind, source_id, field, reason, payload) FROM ingest.rejects WHERE resolved_at IS NULL",
}

// withoutTimes is for databases that have read at different times.
func withoutTimes(query string) string {
	return strings.ReplaceAll(query, "to_jsonb(t)", "to_jsonb(t) - 'updated_at' - 'fetched_at' - 'created_at'")
}

// lines reads the tables' rows, as text, in order.
func lines(tb testing.TB, url string, of func(query string) string) map[string][]string {
	tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	all := map[string][]string{}
	for name, query := range replayed {
		rows, err := conn.Query(ctx, "SELECT x.*::text FROM ("+of(query)+") x ORDER BY 1")
		if err != nil {
			tb.Fatal(err)
		}
		if all[name], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
	}
	return all
}

func whole(query string) string { return query }

// equalRows compares two databases row by row.
func equalRows(tb testing.TB, what string, want, got map[string][]string) {
	tb.Helper()
	for name := range replayed {
		if diff := cmp.Diff(want[name], got[name]); diff != "" {
			tb.Errorf("%s: %s differs (-read +replayed):\n%.3000s", what, name, diff)
		}
	}
}

// versions are the physical versions of all rows of Halo's tables: not one may change where nothing is written.
func versions(tb testing.TB, url string) (list []string) {
	tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, table := range []string{"public.end_users", "public.companies", "public.transcripts", "public.tickets", "public.knowledge", "ingest.id_map", "ingest.tombstones",
		"ingest.pending_links", "ingest.contact_companies", "ingest.rejects"} {
		rows, err := conn.Query(ctx, "SELECT '"+table+" ' || ctid || ' ' || xmin || ' ' || xmax FROM "+table+" ORDER BY 1")
		if err != nil {
			tb.Fatal(err)
		}
		part, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, part...)
	}
	return list
}

// history is a workspace with a past: a bench whose database was filled by several runs, and the snapshot that they kept.
type history struct {
	*bench
	shop     *shop
	snapshot string
	random   *rand.Rand
	// loses says that contacts are deleted, too. A row that a deleted contact shared shows its content until the others on it are seen again, so that a replay of what
	// is there, like every run that sees them, has something to write.
	loses bool
}

// newHistory connects a workspace to a new database.
func newHistory(tb testing.TB, seed uint64, o intercomtest.Options, connect ...string) *history {
	tb.Helper()
	o.Seed = seed
	o.Now = func() time.Time { return time.Now().Add(-time.Minute) } // changes are a second apart, and not in the future
	h := &history{shop: openShop(tb, o), snapshot: filepath.Join(tb.TempDir(), "snapshot"), random: rand.New(rand.NewPCG(seed, 1))}
	h.bench = &bench{tb: tb, dbURL: pgtest.New(tb), dir: tb.TempDir(), url: h.shop.url}
	h.token = filepath.Join(h.dir, "token")
	if err := os.WriteFile(h.token, []byte(h.shop.token+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	h.connect(connect...)
	return h
}

func (h *history) keep(words ...string) {
	h.tb.Helper()
	h.must(append(words, "--snapshot", h.snapshot, "--scroll-wait", "1s"), exitDone, exitDiffers)
}

func (h *history) some(kind intercomtest.Kind) string {
	h.tb.Helper()
	ids := slices.Collect(h.shop.Ledger().IDs(kind))
	return ids[h.random.IntN(len(ids))]
}

func (h *history) apply(list ...intercomtest.Change) {
	h.tb.Helper()
	for _, c := range list {
		if _, err := h.shop.Apply(c); err != nil {
			h.tb.Fatal(err)
		}
	}
}

// live lets the workspace change in every way that a sync, or a full walk, has to notice.
func (h *history) live() {
	h.tb.Helper()
	for _, kind := range []intercomtest.Kind{intercomtest.Contacts, intercomtest.Companies, intercomtest.Conversations, intercomtest.Tickets} {
		h.apply(intercomtest.Change{Op: "touch-random", Kind: kind, N: 5})
		if kind != intercomtest.Contacts || h.loses {
			h.apply(intercomtest.Change{Op: "delete-random", Kind: kind, N: 2})
		}
	}
	from, into := h.some(intercomtest.Contacts), h.some(intercomtest.Contacts)
	if from != into {
		h.apply(intercomtest.Change{Op: "merge", ID: from, Into: into})
	}
	for range 3 {
		h.apply(
			intercomtest.Change{Op: "reply", ID: h.some(intercomtest.Conversations), By: "user", Text: fmt.Sprint("one more question ", h.random.Int())},
			intercomtest.Change{Op: "create", Kind: intercomtest.Conversations, Contact: h.some(intercomtest.Contacts), Text: "something new"},
			intercomtest.Change{Op: "set", Kind: intercomtest.Contacts, ID: h.some(intercomtest.Contacts), Fields: map[string]json.RawMessage{
				"email": json.RawMessage(fmt.Sprintf(`"new%d@example.org"`, h.random.IntN(3))), "name": json.RawMessage(`"Renamed"`),
			}},
		)
	}
	h.apply(intercomtest.Change{Op: "redact", ID: h.some(intercomtest.Conversations)})
}

// damageSome makes a few objects unreadable until the next call.
func (h *history) damageSome() {
	var list []damage
	for range 3 {
		list = append(list, damage{"conversation", h.some(intercomtest.Conversations), "conversation_parts", json.RawMessage(`12`)})
	}
	h.shop.damage(append(list, damage{"ticket", h.some(intercomtest.Tickets), "ticket_parts", json.RawMessage(`[1,2]`)})...)
}

// past lets four runs read the workspace, which changes between them: a backfill, two syncs, and a full walk.
func (h *history) past() {
	h.tb.Helper()
	h.damageSome()
	h.keep("backfill")
	h.live()
	h.keep("sync")
	h.damageSome()
	h.live()
	h.keep("sync")
	h.live()
	h.keep("backfill")
}

// replay loads a snapshot into the database at url.
func (h *history) replay(url, snapshot string, more ...string) string {
	h.tb.Helper()
	args := append([]string{"replay", "--snapshot", snapshot, "--database-url", url, "--data-dir", h.dir}, more...)
	code, stdout, stderr := direct(args...)
	if code != exitDone && code != exitDiffers {
		h.tb.Fatalf("%v: code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// direct runs a command line as it is.
func direct(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	ctx := context.Background()
	code = run(ctx, ctx, args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// smaller copies a snapshot with segments of n objects, as small ones are made by a workspace that is read slowly.
func smaller(tb testing.TB, from string, n int) string {
	tb.Helper()
	ctx := context.Background()
	src, err := parquet.OpenDir(from)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := snapshot.Open(ctx, src, snapshot.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	to, err := parquet.NewDir(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	reader := s.NewReader()
	for _, r := range s.Runs {
		m := r.Manifest
		m.Files = nil
		target := parquet.Target{Store: to, Org: m.Org, Run: m.Run, Attempt: 1}
		for _, stream := range r.Streams(parquet.LayerRows) {
			rows, pages := parquet.NewRows(target, stream.Name, 0), parquet.NewPages(target, stream.Name, 0)
			var seq uint64
			for _, seg := range stream.Segments {
				c, err := reader.Changes(ctx, seg)
				if err != nil {
					tb.Fatal(err)
				}
				objects := map[string]record.Object{}
				for page, err := range s.Objects([]snapshot.Segment{whole1(r, stream.Name, seg.Seq)}).Pages(ctx, nil) {
					if err != nil {
						tb.Fatal(err)
					}
					for _, o := range page.Items {
						objects[o.ID] = o
					}
				}
				for part := range slices.Chunk(append(c.Items, make([]record.Change, len(c.Rejects))...), n) {
					b, p := pipeline.Batch[record.Change]{Seq: seq}, pipeline.Batch[record.Object]{Seq: seq}
					for _, x := range part {
						id := x.SourceID
						if x.Kind == "" {
							b.Rejects, id = append(b.Rejects, c.Rejects[0]), c.Rejects[0].ID
							c.Rejects = c.Rejects[1:]
						} else {
							b.Items = append(b.Items, x)
						}
						if o, ok := objects[id]; ok {
							p.Items = append(p.Items, o)
							delete(objects, id)
						}
					}
					files, err := pages.Write(ctx, p)
					if err != nil {
						tb.Fatal(err)
					}
					more, err := rows.Write(ctx, b)
					if err != nil {
						tb.Fatal(err)
					}
					for _, f := range append(files, more...) {
						m.Files = append(m.Files, f.Meta.(parquet.FileInfo))
					}
					seq++
				}
			}
		}
		raw, err := m.Encode()
		if err != nil {
			tb.Fatal(err)
		}
		if err := to.Put(ctx, parquet.ManifestPath(m.Org, m.Run), func(w io.Writer) error { _, err := w.Write(raw); return err }); err != nil {
			tb.Fatal(err)
		}
	}
	return to.Location()
}

// whole1 is one segment of a stream's objects.
func whole1(r *snapshot.Run, stream string, seq int64) snapshot.Segment {
	for _, s := range r.ObjectStreams() {
		for _, seg := range s.Segments {
			if s.Name == stream && seg.Seq == seq {
				return seg
			}
		}
	}
	return snapshot.Segment{Run: r, Stream: stream, Seq: seq}
}

func TestAReplayGivesTheRowsOfTheRunsThatItsSnapshotKept(t *testing.T) {
	for _, seed := range []uint64{7, 11} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, seed, intercomtest.Options{Conversations: 260, Contacts: 90, Companies: 20, Tickets: 50, Oddities: 60, ScrollIdle: time.Second})
			h.loses = seed == 11
			h.past()
			want := lines(t, h.dbURL, whole)
			if code, out, errs := direct("snapshot", "verify", "--snapshot", h.snapshot); code != exitDone {
				t.Errorf("verify: code %d\n%s%s", code, out, errs)
			}
			small := smaller(t, h.snapshot, 23)
			if code, out, errs := direct("snapshot", "verify", "--snapshot", small); code != exitDone {
				t.Errorf("verify in small segments: code %d\n%s%s", code, out, errs)
			}
			for _, from := range []string{h.snapshot, small} {
				url := pgtest.New(t)
				h.replay(url, from)
				equalRows(t, "a first replay", want, lines(t, url, whole))
				if h.loses {
					h.replay(url, from)
				}
				before := versions(t, url)
				h.replay(url, from)
				if diff := cmp.Diff(before, versions(t, url)); diff != "" {
					t.Errorf("a second replay has written rows:\n%.2000s", diff)
				}
			}
			if h.loses {
				h.replay(h.dbURL, small)
			}
			before := versions(t, h.dbURL)
			h.replay(h.dbURL, small)
			if diff := cmp.Diff(before, versions(t, h.dbURL)); diff != "" {
				t.Errorf("a replay into the database that kept the snapshot has written rows:\n%.2000s", diff)
			}
			remapped := pgtest.New(t)
			h.replay(remapped, h.snapshot, "--remap")
			equalRows(t, "a remap", want, lines(t, remapped, whole))
		})
	}
}

// Intercom gives the newest 500 parts of a conversation; older ones that are held are kept. So two such states of one run have to be loaded in their order, although
// segments of conversations are not; and so do an object's reject and its good state.
func TestTheOrderOfSegmentsShowsInNoRow(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		dir := t.TempDir()
		store, err := parquet.NewDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		m := parquet.Manifest{Org: benchOrg, Run: record.UUID{0xbe}, Kind: "backfill", StartedAt: time.Now(), Complete: true}
		rows := parquet.NewRows(parquet.Target{Store: store, Org: m.Org, Run: m.Run, Attempt: 1}, "conversations", 0)
		cut := func(at, first, last int) record.Change {
			c := newProse().conversation(1, false)
			r := c.Transcript
			r.SourceUpdatedAt = r.SourceUpdatedAt.Add(time.Duration(at) * time.Hour)
			c.Version.UpdatedAt, c.Version.FetchedAt = r.SourceUpdatedAt, r.SourceUpdatedAt
			var messages []record.Message
			for i := first; i <= last; i++ {
				messages = append(messages, record.Message{ID: fmt.Sprint(i), Speaker: record.SpeakerUser, Kind: "comment", Text: "word", At: r.StartedAt.Add(time.Duration(i) * time.Minute)})
			}
			r.MessagesJSON, r.MessageCount, r.ExpectedMessageCount, r.Complete = record.AppendMessages(nil, messages), len(messages), 9, false
			r.Seal(new(record.Encoder))
			return c
		}
		text := newProse()
		filler := func(from, n int) (list []record.Change) {
			for i := from; i < from+n; i++ {
				list = append(list, text.conversation(i, false))
			}
			return list
		}
		refusal := func(id string) pipeline.Reject {
			return pipeline.Reject{Stage: "extract", Kind: "conversation", ID: id, Payload: []byte("as it came")}
		}
		// The first is large, so that the other lane is done with the second before it is.
		segments := []pipeline.Batch[record.Change]{
			{Items: append(filler(1000, 800), cut(0, 1, 3), newProse().conversation(2, false)), Rejects: []pipeline.Reject{refusal("3")}},
			{Items: []record.Change{cut(1, 3, 5), newProse().conversation(3, false)}, Rejects: []pipeline.Reject{refusal("2")}},
			{Items: filler(3000, 20)},
		}
		for seq, b := range segments {
			b.Seq = uint64(seq)
			files, err := rows.Write(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				m.Files = append(m.Files, f.Meta.(parquet.FileInfo))
			}
		}
		if err := parquet.WriteManifest(t.Context(), store, nil, m); err != nil {
			t.Fatal(err)
		}
		b := &bench{tb: t, dbURL: pgtest.New(t)}
		if code, out, errs := direct("replay", "--snapshot", dir, "--database-url", b.dbURL, "--data-dir", t.TempDir()); code != exitDiffers {
			t.Fatalf("code %d\n%s%s", code, out, errs)
		}
		if n := scalar[int](b, `SELECT message_count FROM transcripts WHERE source_id = '1'`); n != 5 {
			t.Errorf("round %d: the conversation that was cut has %d messages, want 5", round, n)
		}
		if open := scalar[string](b, `SELECT string_agg(source_id, ' ') FROM ingest.rejects WHERE resolved_at IS NULL`); open != "2" {
			t.Errorf("round %d: open rejects of %q, want 2 alone", round, open)
		}
		if n := scalar[int](b, `SELECT count(*) FROM transcripts`); n != 823 {
			t.Errorf("round %d: %d transcripts, want 823", round, n)
		}
	}
}
