package halo

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// benchRows is the size of the tables: HALOINGEST_BENCH_ROWS, or 200,000.
func benchRows() int {
	if n, err := strconv.Atoi(os.Getenv("HALOINGEST_BENCH_ROWS")); err == nil {
		return n
	}
	return 200_000
}

// conversations makes rows like those of the plan's measurements: 434 bytes each in the table, of which 300 are messages.
type conversations struct{ n int }

func (c conversations) make(i int, e *record.Encoder) *record.TranscriptRow {
	id := strconv.Itoa(215_000_000 + i)
	at := time.Date(2024, 1, 1, 0, 0, i, 0, time.UTC)
	messages := fmt.Appendf(nil, `[{"at":"%s","attachments":[],"author_id":"5f%d","author_name":null,"html":null,"id":"%d","kind":"comment","speaker":"user","text":"Hello, my order %d has not arrived and I wonder where it is"},`+
		`{"at":"%s","attachments":[],"author_id":"7","author_name":"Bea","html":null,"id":"%d","kind":"comment","speaker":"agent","text":"It is on its way"}]`,
		at.Format(time.RFC3339), i, i, i, at.Format(time.RFC3339), i+1)
	r := &record.TranscriptRow{Head: record.Head{Org: org, ID: record.RowID(org, record.KindConversation, id), SourceID: id, SourceUpdatedAt: at},
		SessionID: "intercom_" + id, Subject: "Where is my order", MessagesJSON: messages, MessageCount: 2, ExpectedMessageCount: 2, Complete: true, Status: "active",
		StartedAt: at, Metadata: json.RawMessage(`{"channel":"email","intercom_conversation_id":"` + id + `","source":"intercom","state":"open"}`)}
	r.Seal(e)
	return r
}

func (c conversations) change(i int, e *record.Encoder) record.Change {
	r := c.make(i, e)
	return record.Change{Kind: record.KindConversation, SourceID: r.SourceID, Transcript: r, Version: record.Version{UpdatedAt: r.SourceUpdatedAt, FetchedAt: fetched}}
}

// fill copies the rows into transcripts.
func (c conversations) fill(tb testing.TB, pool *pgxpool.Pool) {
	tb.Helper()
	var e record.Encoder
	_, err := pool.CopyFrom(tb.Context(), pgx.Identifier{"public", "transcripts"}, []string{"org_id", "id", "source_id", "source_updated_at", "updated_at", "content_hash", "session_id",
		"subject", "messages", "message_count", "expected_message_count", "complete", "status", "started_at", "metadata"}, pgx.CopyFromSlice(c.n, func(i int) ([]any, error) {
		r := c.make(i, &e)
		return []any{r.Org.String(), r.ID.String(), r.SourceID, r.SourceUpdatedAt, fetched, r.Hash[:], r.SessionID, r.Subject, string(r.MessagesJSON), r.MessageCount,
			r.ExpectedMessageCount, r.Complete, r.Status, r.StartedAt, string(r.Metadata)}, nil
	}))
	if err != nil {
		tb.Fatal(err)
	}
	exec(tb, pool, `VACUUM ANALYZE transcripts`)
}

// Name, Moves, Fingerprints and Fetch make conversations a left side that costs what making and sealing its rows costs.
func (c conversations) Name() string { return "snapshot:made" }
func (c conversations) Moves() bool  { return false }

func (c conversations) Fingerprints(_ context.Context, entity string, _ diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		if entity != "transcripts" {
			return
		}
		var e record.Encoder
		var batch []record.Fingerprint
		for i := range c.n {
			x := c.change(i, &e)
			if batch = append(batch, x.Fingerprint()); len(batch) == 1024 {
				if !yield(batch, nil) {
					return
				}
				batch = batch[:0]
			}
		}
		yield(batch, nil)
	}
}

func (c conversations) Fetch(_ context.Context, _ string, ids []string) ([]diff.Object, error) {
	var e record.Encoder
	var list []diff.Object
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil && n >= 215_000_000 && n < 215_000_000+c.n {
			list = append(list, diff.Object{SourceID: id, Change: c.change(n-215_000_000, &e)})
		}
	}
	return list, nil
}

const (
	exceptSQL = `SELECT count(*) FROM ((SELECT %[1]s FROM l EXCEPT SELECT %[1]s FROM transcripts) UNION ALL (SELECT %[1]s FROM transcripts EXCEPT SELECT %[1]s FROM l)) x`
	joinSQL   = `SELECT count(*) FROM l FULL OUTER JOIN transcripts r USING (org_id, id) WHERE %s`
	// As data-diff does it: checksums of segments of keys, each column cast to text.
	checksumSQL = `SELECT count(*), sum(('x' || substring(md5(concat_ws('|', %s)), 18))::bit(60)::bigint) FROM %s GROUP BY (source_id::bigint / 10000)`
	benchList   = `org_id, id, source_id, source_updated_at, content_hash, session_id, subject, messages, message_count, expected_message_count, complete, status, outcome, started_at, ended_at, metadata`
)

// BenchmarkDiff compares a whole table with a left side and prints the ratios of the plan (proof.md, "Speed"), each against what was measured in
// the same round; the variants take turns. HALOINGEST_BENCH_ROUNDS: 3.
func BenchmarkDiff(b *testing.B) {
	pool := newDatabase(b)
	side := conversations{benchRows()}
	side.fill(b, pool)
	exec(b, pool, `CREATE TABLE l AS SELECT * FROM transcripts; CREATE UNIQUE INDEX ON l (org_id, id); ANALYZE l`)
	rounds, err := strconv.Atoi(os.Getenv("HALOINGEST_BENCH_ROUNDS"))
	if err != nil || rounds < 1 {
		rounds = 3
	}
	var condition, texts string
	for i, c := range strings.Split(benchList, ", ") {
		if i > 1 {
			condition += fmt.Sprintf(" OR l.%s IS DISTINCT FROM r.%s", c, c)
		}
		texts += ", " + c + "::text"
	}
	ratios := map[string][]float64{}
	took := map[string][]float64{}
	timed := func(name string, f func()) float64 {
		began := time.Now()
		f()
		s := time.Since(began).Seconds()
		took[name] = append(took[name], s)
		return s
	}
	query := func(name, sql string) float64 {
		return timed(name, func() {
			if _, err := pool.Exec(b.Context(), sql); err != nil {
				b.Fatalf("%s: %v", name, err)
			}
		})
	}
	exec(b, pool, `COPY transcripts TO '/dev/null' (FORMAT binary)`)
	var most uint64
	for range rounds {
		var limit, ours float64
		copyCPU := backendCPU(b, pool, func(conn *pgxpool.Conn) {
			limit = timed("copy", func() {
				if _, err := conn.Exec(b.Context(), `COPY (SELECT `+benchList+` FROM transcripts) TO '/dev/null' (FORMAT binary)`); err != nil {
					b.Fatal(err)
				}
			})
		})
		var u usage
		ours = timed("ours", func() { u = runDiff(b, pool, side) })
		most = max(most, u.memory)
		ratios["server-CPU/copy-CPU"] = append(ratios["server-CPU/copy-CPU"], u.server.Seconds()/copyCPU.Seconds())
		ratios["client-CPU/copy-CPU"] = append(ratios["client-CPU/copy-CPU"], u.client.Seconds()/copyCPU.Seconds())
		ratios["ours/copy"] = append(ratios["ours/copy"], ours/limit)
		join := query("full-outer-join", fmt.Sprintf(joinSQL, "l.id IS NULL OR r.id IS NULL"+condition))
		ratios["full-outer-join/ours"] = append(ratios["full-outer-join/ours"], join/ours)
		sums := query("checksums", fmt.Sprintf(checksumSQL, texts[2:], "l")) + query("checksums", fmt.Sprintf(checksumSQL, texts[2:], "transcripts"))
		ratios["checksums/ours"] = append(ratios["checksums/ours"], sums/ours)
		except := query("except", fmt.Sprintf(exceptSQL, benchList))
		ratios["except/ours"] = append(ratios["except/ours"], except/ours)
	}
	for name, list := range ratios {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name)
		b.Logf("%s: min %.2f, median %.2f, max %.2f", name, list[0], list[len(list)/2], list[len(list)-1])
	}
	b.Logf("%d rows; seconds: %v", side.n, took)
	b.ReportMetric(float64(most)/(1<<20), "peak-MB")
	b.ReportMetric(0, "ns/op")
}

// usage is what one diff has used. On a machine that does other things as well, CPU time says more than time.
type usage struct {
	memory         uint64        // most that the Go runtime had from the system, less what it had given back
	server, client time.Duration // CPU: of the backend that was read from, and of this process, the left side included
}

// runDiff compares, finds no difference, and returns what that took.
func runDiff(tb testing.TB, pool *pgxpool.Pool, left diff.Side) (u usage) {
	tb.Helper()
	runtime.GC()
	right, err := Open(tb.Context(), pool, org)
	if err != nil {
		tb.Fatal(err)
	}
	defer right.Close(tb.Context())
	var watch peak
	server, client := ticks(tb, right.conn), ownCPU(tb)
	r, err := diff.Compare(tb.Context(), left, right, diff.Options{Org: org, Without: []string{"companies", "end_users", "tickets", "knowledge"}, TempDir: tb.TempDir(),
		Progress: func(diff.Progress) { watch.note() }})
	if err != nil {
		tb.Fatal(err)
	}
	if r.Verdict != diff.VerdictEqual {
		tb.Fatalf("%s", r.Sentence)
	}
	return usage{watch.most.Load(), ticks(tb, right.conn) - server, ownCPU(tb) - client}
}

// backendCPU is the CPU time that the server takes for f.
func backendCPU(tb testing.TB, pool *pgxpool.Pool, f func(*pgxpool.Conn)) time.Duration {
	tb.Helper()
	conn, err := pool.Acquire(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Release()
	before := ticks(tb, conn)
	f(conn)
	return ticks(tb, conn) - before
}

// ticks is the CPU time of a connection's backend, for superusers on a Linux server; 0 elsewhere.
func ticks(tb testing.TB, conn *pgxpool.Conn) time.Duration {
	var n int
	err := conn.QueryRow(tb.Context(), `SELECT split_part(f, ' ', 14)::int + split_part(f, ' ', 15)::int FROM pg_read_file('/proc/self/stat') f`).Scan(&n)
	if err != nil {
		tb.Logf("the server's CPU time: %v", err)
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

// peak notes the most memory; Progress is called by two goroutines.
type peak struct{ most atomic.Uint64 }

func (p *peak) note() {
	for now := memory(); ; {
		old := p.most.Load()
		if now <= old || p.most.CompareAndSwap(old, now) {
			return
		}
	}
}

func memory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
