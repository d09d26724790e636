package proof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/compare"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/parquet"
	"haloingest/sources/halo"
	"haloingest/sources/snapshot"
)

// made makes the i-th conversation, of 434 bytes in the table, as in the plan's measurements.
func made(i int, e *record.Encoder) record.Change {
	id := strconv.Itoa(215_000_000 + i)
	at := time.Date(2024, 1, 1, 0, 0, i, 0, time.UTC)
	messages := fmt.Appendf(nil, `[{"at":"%s","attachments":[],"author_id":"5f%d","author_name":null,"html":null,"id":"%d","kind":"comment","speaker":"user","text":"Hello, my order %d has not arrived and I wonder where it is"},`+
		`{"at":"%s","attachments":[],"author_id":"7","author_name":"Bea","html":null,"id":"%d","kind":"comment","speaker":"agent","text":"It is on its way"}]`,
		at.Format(time.RFC3339), i, i, i, at.Format(time.RFC3339), i+1)
	r := &record.TranscriptRow{Head: record.Head{Org: org, ID: record.RowID(org, record.KindConversation, id), SourceID: id, SourceUpdatedAt: at},
		SessionID: "intercom_" + id, Subject: "Where is my order", MessagesJSON: messages, MessageCount: 2, ExpectedMessageCount: 2, Complete: true, Status: "active",
		StartedAt: at, Metadata: json.RawMessage(`{"channel":"email","intercom_conversation_id":"` + id + `","source":"intercom","state":"open"}`)}
	r.Seal(e)
	r.KnowledgeHash = record.KnowledgeHash(e, nil)
	return record.Change{Kind: record.KindConversation, SourceID: id, Transcript: r, Version: record.Version{UpdatedAt: at, FetchedAt: fetched}}
}

var fetched = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)

// keep writes n conversations as a snapshot, in segments of 5,000.
func keep(b *testing.B, dir string, n int) *snapshot.Snapshot {
	b.Helper()
	store, err := parquet.NewDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	m := parquet.Manifest{Version: parquet.ManifestVersion, Schema: parquet.SchemaVersion, Digest: record.DigestVersion, Program: "bench", Org: org, Run: record.UUID{1},
		Kind: "backfill", StartedAt: fetched, Complete: true}
	rows := parquet.NewRows(parquet.Target{Store: store, Org: org, Run: m.Run, Attempt: 1}, "conversations", 0)
	var e record.Encoder
	const size = 5000
	for seq := 0; seq*size < n; seq++ {
		var items []record.Change
		for i := seq * size; i < min(n, seq*size+size); i++ {
			items = append(items, made(i, &e))
		}
		files, err := rows.Write(b.Context(), pipeline.Batch[record.Change]{Seq: uint64(seq), Items: items})
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range files {
			m.Files = append(m.Files, f.Meta.(parquet.FileInfo))
		}
	}
	raw, err := m.Encode()
	if err != nil {
		b.Fatal(err)
	}
	err = store.Put(b.Context(), parquet.ManifestPath(org, m.Run), func(w io.Writer) error { _, err := io.Copy(w, bytes.NewReader(raw)); return err })
	if err != nil {
		b.Fatal(err)
	}
	s, err := snapshot.Open(b.Context(), store, snapshot.Options{Layers: []string{parquet.LayerRows}})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkDiffOfASnapshot compares the rows of a snapshot with the database that holds them, in full, and prints its time through that of a COPY of the
// table to /dev/null in the same round (proof.md: at most 1.6), with the CPU time of both, which a busy machine distorts less, and the most memory.
// HALOINGEST_BENCH_ROWS: 200,000; _ROUNDS: 3.
func BenchmarkDiffOfASnapshot(b *testing.B) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv("HALOINGEST_BENCH_" + name)); err == nil {
			return n
		}
		return otherwise
	}
	n := number("ROWS", 200_000)
	d := newDatabase(b)
	left := keep(b, b.TempDir(), n)
	var e record.Encoder
	_, err := d.db.Pool().CopyFrom(b.Context(), pgx.Identifier{"public", "transcripts"}, []string{"org_id", "id", "source_id", "source_updated_at", "updated_at", "content_hash",
		"session_id", "subject", "messages", "message_count", "expected_message_count", "complete", "status", "started_at", "metadata"}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
		r := made(i, &e).Transcript
		return []any{r.Org.String(), r.ID.String(), r.SourceID, r.SourceUpdatedAt, fetched, r.Hash[:], r.SessionID, r.Subject, string(r.MessagesJSON), r.MessageCount,
			r.ExpectedMessageCount, r.Complete, r.Status, r.StartedAt, string(r.Metadata)}, nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	d.exec(`VACUUM ANALYZE transcripts`)
	d.exec(`COPY transcripts TO '/dev/null' (FORMAT binary)`)
	ratios := make(map[string][]float64)
	var most uint64
	for range number("ROUNDS", 3) {
		began, server := time.Now(), d.ticks()
		d.exec(`COPY transcripts TO '/dev/null' (FORMAT binary)`)
		limit, copyCPU := time.Since(began), d.ticks()-server
		began, server = time.Now(), d.ticks()
		client := ownCPU(b)
		most = max(most, d.compareSnapshot(left, n))
		spent, serverCPU, clientCPU := time.Since(began), d.ticks()-server, ownCPU(b)-client
		ratios["ours/copy"] = append(ratios["ours/copy"], spent.Seconds()/limit.Seconds())
		ratios["server-CPU/copy-CPU"] = append(ratios["server-CPU/copy-CPU"], serverCPU.Seconds()/copyCPU.Seconds())
		ratios["client-CPU/copy-CPU"] = append(ratios["client-CPU/copy-CPU"], clientCPU.Seconds()/copyCPU.Seconds())
		b.Logf("%d rows: COPY %v (CPU %v), ours %v (CPU: server %v, client %v)", n, limit.Round(time.Millisecond), copyCPU, spent.Round(time.Millisecond), serverCPU, clientCPU)
	}
	for name, list := range ratios {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name)
	}
	b.ReportMetric(float64(most)/(1<<20), "peak-MB")
	b.ReportMetric(0, "ns/op")
}

// compareSnapshot returns the most memory that the Go runtime had from the system.
func (d *database) compareSnapshot(s *snapshot.Snapshot, n int) uint64 {
	d.tb.Helper()
	runtime.GC()
	left := compare.NewSnapshot("snapshot:bench", s, d.tb.TempDir())
	defer left.Close()
	right, err := halo.Open(d.tb.Context(), d.db.Pool(), org)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer right.Close(d.tb.Context())
	var most atomic.Uint64
	r, err := diff.Compare(d.tb.Context(), left, right, diff.Options{Org: org, Without: []string{"companies", "end_users", "tickets", "knowledge"}, TempDir: d.tb.TempDir(),
		Progress: func(diff.Progress) {
			samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
			metrics.Read(samples)
			for now := samples[0].Value.Uint64() - samples[1].Value.Uint64(); ; {
				old := most.Load()
				if now <= old || most.CompareAndSwap(old, now) {
					return
				}
			}
		}})
	if err != nil || r.Verdict != diff.VerdictEqual || r.Entities[0].Counts.Matched != int64(n) {
		d.tb.Fatalf("%v: %s", err, r.Sentence)
	}
	return most.Load()
}

// ticks is the CPU time of all backends of the database's server, by the kernel; 0 where it cannot be read.
func (d *database) ticks() time.Duration {
	var n int64
	err := d.db.Pool().QueryRow(d.tb.Context(), `SELECT coalesce(sum(split_part(f, ' ', 14)::bigint + split_part(f, ' ', 15)::bigint), 0) FROM pg_stat_activity,
		LATERAL (SELECT pg_read_file('/proc/' || pid || '/stat', 0, 1000, true)) AS x(f) WHERE datname = current_database()`).Scan(&n)
	if err != nil {
		d.tb.Logf("the server's CPU time: %v", err)
	}
	return time.Duration(n) * 10 * time.Millisecond
}

func ownCPU(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
