package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/replay"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/snapshot"
)

// BenchmarkReplay compares a replay of conversations of 8 messages, 4.5 KB a row, without knowledge, with the limits of performance.md, in one
// interleaved run: one round to warm up, then medians of psql's time through ours, so that more is better.
//
//	fresh/L1, /L2, /Lp   an empty table; psql copies a binary file straight into it, through a temp table and ON CONFLICT, or two halves at once
//	noop/L2n, changed/L2c nothing, or one row in ten, has changed; through a temp table
//	noop/Ld              against decoding and hashing the same segments without a database
//
// What is measured of a replay is all of it: hashing the files, the lease, the run, loading, the report.
// HALOINGEST_BENCH_ROWS, _SEGMENT and _ROUNDS set the size (20,000 rows in segments of 2,000, 5 rounds).
func BenchmarkReplay(b *testing.B) {
	x := &replayBench{B: b, ratios: map[string][]float64{}, used: map[string][]float64{}}
	x.rows, x.segment, x.rounds = number(b, "ROWS", 20_000), number(b, "SEGMENT", 2_000), number(b, "ROUNDS", 5)
	x.url = pgtest.New(b)
	var err error
	if x.psql, err = exec.LookPath("psql"); err != nil {
		list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
		if len(list) == 0 {
			b.Skip("no psql on this machine")
		}
		x.psql = slices.Max(list)
	}
	if x.db, err = postgres.Open(b.Context(), x.url, postgres.Options{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(x.db.Close)
	if _, err := x.db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	old, changed := x.write(b.TempDir(), 0), x.write(b.TempDir(), 10)
	x.replay(changed)
	changedFile := x.copyOut("true")
	x.empty()
	x.replay(old)
	file, halves := x.copyOut("true"), [2]string{x.copyOut("abs(hashtext(source_id)) % 2 = 0"), x.copyOut("abs(hashtext(source_id)) % 2 = 1")}
	const merge = `CREATE TEMP TABLE s AS SELECT * FROM transcripts WITH NO DATA;
%s
INSERT INTO transcripts AS t SELECT * FROM s ON CONFLICT (org_id, id) DO UPDATE SET subject = excluded.subject, messages = excluded.messages, metadata = excluded.metadata,
	content_hash = excluded.content_hash, source_updated_at = excluded.source_updated_at, updated_at = excluded.updated_at, run_id = excluded.run_id,
	message_count = excluded.message_count, status = excluded.status, knowledge_hash = excluded.knowledge_hash WHERE t.content_hash IS DISTINCT FROM excluded.content_hash;`
	for round := range x.rounds + 1 {
		x.empty()
		l1 := x.script(in("transcripts", file))
		x.empty()
		l2 := x.script(fmt.Sprintf(merge, in("s", file)))
		x.empty()
		began := time.Now()
		var both sync.WaitGroup
		for _, half := range halves {
			both.Go(func() { x.script(in("transcripts", half)) })
		}
		both.Wait()
		lp := time.Since(began)
		x.empty()
		fresh := x.measured(round, "fresh", old)
		x.add(round, "fresh/L1", l1, fresh)
		x.add(round, "fresh/L2", l2, fresh)
		x.add(round, "fresh/Lp", lp, fresh)
		x.script("ANALYZE transcripts;")
		l2n := x.script(fmt.Sprintf(merge, in("s", file)))
		ld := x.decode(old)
		noop := x.measured(round, "noop", old)
		x.add(round, "noop/L2n", l2n, noop)
		x.add(round, "noop/Ld", ld, noop)
		some := x.measured(round, "changed", changed)
		x.empty()
		x.script(in("transcripts", file))
		x.script("ANALYZE transcripts; CHECKPOINT;")
		x.add(round, "changed/L2c", x.script(fmt.Sprintf(merge, in("s", changedFile))), some)
	}
	x.empty()
	x.rss(old)
	x.report()
}

type replayBench struct {
	*testing.B
	url, psql             string
	db                    *postgres.DB
	rows, segment, rounds int
	ratios, used          map[string][]float64
}

func number(b *testing.B, name string, usual int) int {
	b.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("HALOINGEST_BENCH_"+name), strconv.Itoa(usual)))
	if err != nil || n <= 0 {
		b.Fatalf("HALOINGEST_BENCH_%s: want a positive number", name)
	}
	return n
}

var benchOrg, _ = record.ParseUUID(testOrg)

// write makes a snapshot of which one row in every is another than in one of 0.
func (x *replayBench) write(dir string, every int) string {
	ctx := x.Context()
	store, err := parquet.NewDir(dir)
	if err != nil {
		x.Fatal(err)
	}
	m := parquet.Manifest{Org: benchOrg, Run: record.UUID{0xbe}, Kind: "backfill", StartedAt: time.Now(), Complete: true}
	rows := parquet.NewRows(parquet.Target{Store: store, Org: m.Org, Run: m.Run, Attempt: 1}, "conversations", 0)
	text := newProse()
	for seq := 0; seq*x.segment < x.rows; seq++ {
		var list []record.Change
		for i := seq * x.segment; i < min((seq+1)*x.segment, x.rows); i++ {
			list = append(list, text.conversation(i, every > 0 && i%every == 0))
		}
		files, err := rows.Write(ctx, pipeline.Batch[record.Change]{Seq: uint64(seq), Items: list})
		if err != nil {
			x.Fatal(err)
		}
		for _, f := range files {
			m.Files = append(m.Files, f.Meta.(parquet.FileInfo))
		}
	}
	if err := parquet.WriteManifest(ctx, store, nil, m); err != nil {
		x.Fatal(err)
	}
	return dir
}

func (x *replayBench) open(dir string) *snapshot.Snapshot {
	store, err := parquet.OpenDir(dir)
	if err != nil {
		x.Fatal(err)
	}
	s, err := snapshot.Open(x.Context(), store, snapshot.Options{Layers: []string{parquet.LayerRows}})
	if err != nil {
		x.Fatal(err)
	}
	return s
}

// replay loads a snapshot in this process.
func (x *replayBench) replay(dir string) time.Duration {
	began := time.Now()
	r := replay.Runner{DB: x.db, Snapshot: x.open(dir), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Holder: "bench"}
	run, err := r.Start(x.Context(), replay.Request{Restart: true})
	if err != nil {
		x.Fatal(err)
	}
	report, err := run.Do(x.Context(), x.Context())
	if err != nil {
		x.Fatal(err)
	}
	if n := tally(report.Run.Counts); n.inserted+n.updated+n.unchanged != int64(x.rows) || n.rejected > 0 {
		x.Fatalf("%+v of %d rows", n, x.rows)
	}
	if err := run.Close(x.Context()); err != nil {
		x.Fatal(err)
	}
	return time.Since(began)
}

// measured also notes the client's processor time and allocations.
func (x *replayBench) measured(round int, name string, dir string) time.Duration {
	var before, after syscall.Rusage
	var was, is runtime.MemStats
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	runtime.ReadMemStats(&was)
	spent := x.replay(dir)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	runtime.ReadMemStats(&is)
	if round > 0 {
		cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		x.used[name+"-client-µs/row"] = append(x.used[name+"-client-µs/row"], float64(cpu)/1000/float64(x.rows))
		x.used[name+"-allocs/row"] = append(x.used[name+"-allocs/row"], float64(is.Mallocs-was.Mallocs)/float64(x.rows))
		x.used[name+"-rows/s"] = append(x.used[name+"-rows/s"], float64(x.rows)/spent.Seconds())
	}
	return spent
}

// decode is Ld: reading the segments and hashing their rows, two at once as a replay does.
func (x *replayBench) decode(dir string) time.Duration {
	s := x.open(dir)
	began := time.Now()
	segments := s.Runs[0].Streams(parquet.LayerRows)[0].Segments
	err := pipeline.ForEach(x.Context(), len(segments), 2, func(ctx context.Context, i int) error {
		var e record.Encoder
		c, err := s.NewReader().Changes(ctx, segments[i])
		for j := range c.Items {
			c.Items[j].Transcript.Seal(&e)
		}
		return err
	})
	if err != nil {
		x.Fatal(err)
	}
	return time.Since(began)
}

func (x *replayBench) empty() {
	x.script(`TRUNCATE end_users, companies, transcripts, tickets, knowledge, ingest.id_map, ingest.pending_links, ingest.contact_companies, ingest.tombstones, ingest.runs,
		ingest.checkpoints, ingest.segments, ingest.before_images; CHECKPOINT;`)
}

func in(table, file string) string {
	return `\copy ` + table + ` FROM '` + file + `' WITH (FORMAT binary)`
}

// copyOut prepares what is in the table as a binary file.
func (x *replayBench) copyOut(where string) string {
	file := filepath.Join(x.TempDir(), "rows")
	x.script(`\copy (SELECT * FROM transcripts WHERE ` + where + `) TO '` + file + `' WITH (FORMAT binary)`)
	return file
}

func (x *replayBench) script(sql string) time.Duration {
	c := exec.Command(x.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", x.url)
	c.Env = append(os.Environ(), "PGOPTIONS=-c default_toast_compression=lz4")
	c.Stdin = strings.NewReader(sql)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	began := time.Now()
	if err := c.Run(); err != nil {
		x.Fatalf("psql: %v: %s", err, out.String())
	}
	return time.Since(began)
}

func (x *replayBench) add(round int, name string, psql, ours time.Duration) {
	x.Logf("round %d %s: limit %v, ours %v", round, name, psql.Round(time.Millisecond), ours.Round(time.Millisecond))
	if round > 0 {
		x.ratios[name] = append(x.ratios[name], psql.Seconds()/ours.Seconds())
	}
}

// rss is the peak of the program's memory as a process of its own. What the system says of a child that has ended is no use: it counts the memory
// of the parent that it was forked from.
func (x *replayBench) rss(dir string) {
	self, err := os.Executable()
	if err != nil {
		x.Fatal(err)
	}
	cmd := exec.Command(self, "replay", "--snapshot", dir, "--database-url", x.url, "--data-dir", x.TempDir())
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		x.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	peak := 0
	for {
		select {
		case err := <-ended:
			if err != nil {
				x.Fatalf("replay: %v\n%s", err, out.String())
			}
			if peak > 0 {
				x.ReportMetric(float64(peak)/1024, "peak-MiB")
			}
			return
		case <-time.After(5 * time.Millisecond):
			peak = max(peak, highWater(cmd.Process.Pid))
		}
	}
}

// highWater is the most memory that a process has had so far, in KiB; 0 where it cannot be read.
func highWater(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ = strings.Cut(line, "kB")
	n, _ := strconv.Atoi(strings.TrimSpace(line))
	return n
}

func (x *replayBench) report() {
	for _, m := range []map[string][]float64{x.ratios, x.used} {
		for name, list := range m {
			slices.Sort(list)
			x.ReportMetric(list[len(list)/2], name)
			x.Logf("%s: min %.2f, median %.2f, max %.2f", name, list[0], list[len(list)/2], list[len(list)-1])
		}
	}
	x.ReportMetric(0, "ns/op")
}

// prose makes text that compresses about as people's does.
type prose struct {
	random *rand.Rand
	words  []string
}

func newProse() *prose {
	p := &prose{random: rand.New(rand.NewPCG(1, 2))}
	for range 4000 {
		w := make([]byte, 2+p.random.IntN(9))
		for i := range w {
			w[i] = "etaoinshrdlucmfwypvbgkjqxz"[min(p.random.IntN(26), p.random.IntN(26))]
		}
		p.words = append(p.words, string(w))
	}
	return p
}

func (p *prose) text(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(p.words[min(p.random.IntN(len(p.words)), p.random.IntN(len(p.words)))])
		b.WriteByte(' ')
	}
	return b.String()
}

// conversation makes the i-th conversation, or a later state of it.
func (p *prose) conversation(i int, later bool) record.Change {
	id, at := strconv.Itoa(i), time.Date(2025, 5, 6, 7, 8, 9, 0, time.UTC)
	if later {
		at = at.Add(time.Hour)
	}
	var e record.Encoder
	t := &record.TranscriptRow{
		Head:      record.Head{Org: benchOrg, ID: record.RowID(benchOrg, record.KindConversation, id), SourceID: id, SourceUpdatedAt: at, SourceCreatedAt: at},
		SessionID: id, Subject: p.text(30), MessageCount: 8, ExpectedMessageCount: 8, Complete: true, Status: "completed", StartedAt: at, EndedAt: at,
		Metadata: []byte(`{"channel": "email", "source": "intercom"}`),
	}
	var messages []record.Message
	for m := range 8 {
		messages = append(messages, record.Message{ID: fmt.Sprint(i, m), Speaker: record.SpeakerUser, Kind: "comment", Text: p.text(360), At: at, AuthorID: "abc", AuthorName: "Some Body"})
	}
	t.MessagesJSON = record.AppendMessages(nil, messages)
	t.KnowledgeHash = record.KnowledgeHash(&e, nil)
	t.Seal(&e)
	return record.Change{Kind: record.KindConversation, SourceID: id, Version: record.Version{UpdatedAt: at, FetchedAt: at}, Transcript: t}
}
