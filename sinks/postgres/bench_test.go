package postgres

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// BenchmarkTranscripts compares the sink with psql \copy of the same rows, prepared as a binary file, into the same table with the same indexes:
// conversations of 8 messages, 4.5 KB a row. The variants take turns, after one round to warm up; what is reported are medians of ratios of
// one round, psql's time through ours, so that more is better, and counts per row.
//
//	fresh/L1      an empty table; psql copies straight into the table
//	noop/L2n      nothing has changed; psql copies into a temp table and runs INSERT … ON CONFLICT … WHERE the hash differs
//	changed/L2c   one row in ten has changed; likewise
//
// HALOINGEST_BENCH_ROWS and HALOINGEST_BENCH_BATCH set the size (20,000 and 1,000).
func BenchmarkTranscripts(b *testing.B) {
	psql := findPSQL(b)
	rows, batch := benchSize(b, "HALOINGEST_BENCH_ROWS", 20_000), benchSize(b, "HALOINGEST_BENCH_BATCH", 1_000)
	url := pgtest.New(b)
	db := openURL(b, url)
	if _, err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	x := loadingOn(b, db, acquire(b, db, orgA), "bench")
	text := newProse(1)
	first := make([]record.Change, rows)
	for i := range first {
		first[i] = benchConversation(text, i, 1)
	}
	second := slices.Clone(first)
	for i := 0; i < len(second); i += 10 {
		second[i] = benchConversation(text, i, 2)
	}
	dir := b.TempDir()
	files := [2]string{copyFile(b, dir, "first", x.run.ID, first), copyFile(b, dir, "second", x.run.ID, second)}
	list := strings.Join(transcriptColumns, ", ")
	script := func(file string) string {
		return fmt.Sprintf(`CREATE TEMP TABLE s AS SELECT %[1]s FROM transcripts WITH NO DATA;
\copy s (%[1]s) FROM '%[2]s' WITH (FORMAT binary)
INSERT INTO transcripts AS t (%[1]s) SELECT %[1]s FROM s ON CONFLICT (org_id, id) DO UPDATE SET %[3]s WHERE t.content_hash IS DISTINCT FROM excluded.content_hash;
`, list, file, newTargets().transcripts.setting("org_id", "id", "created_at"))
	}
	run := func(script string) time.Duration {
		c := exec.Command(psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-d", url)
		c.Env = append(os.Environ(), "PGOPTIONS=-c default_toast_compression=lz4")
		c.Stdin = strings.NewReader(script)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		began := time.Now()
		if err := c.Run(); err != nil {
			b.Fatalf("psql: %v: %s", err, out.String())
		}
		return time.Since(began)
	}
	load := func(changes []record.Change) time.Duration {
		began := time.Now()
		for part := range slices.Chunk(changes, batch) {
			if err := x.try(part...); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began)
	}
	empty := func() { x.exec(`TRUNCATE transcripts, knowledge, ingest.pending_links; CHECKPOINT`) }
	ratios := make(map[string][]float64)
	var used usage
	for round := range 6 {
		add := func(name string, psql, ours time.Duration) {
			b.Logf("round %d %s: psql %v, ours %v", round, name, psql.Round(time.Millisecond), ours.Round(time.Millisecond))
			if round > 0 {
				ratios[name] = append(ratios[name], psql.Seconds()/ours.Seconds())
			}
		}
		empty()
		direct := run(`\copy transcripts (` + list + `) FROM '` + files[0] + `' WITH (FORMAT binary)`)
		empty()
		before := measure()
		ours := load(first)
		if used = measure().since(before); round >= 0 {
			add("fresh/L1", direct, ours)
		}
		x.exec(`ANALYZE transcripts`)
		same := run(script(files[0]))
		add("noop/L2n", same, load(first))
		// Each of the two finds the table as it was after the first load.
		ours = load(second)
		x.exec(`TRUNCATE transcripts`)
		run(`\copy transcripts (` + list + `) FROM '` + files[0] + `' WITH (FORMAT binary)`)
		x.exec(`ANALYZE transcripts; CHECKPOINT`)
		add("changed/L2c", run(script(files[1])), ours)
	}
	for name, list := range ratios {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name)
		b.Logf("%s: min %.2f, median %.2f, max %.2f", name, list[0], list[len(list)/2], list[len(list)-1])
	}
	b.ReportMetric(float64(used.cpu.Nanoseconds())/1000/float64(rows), "client-µs/row")
	b.ReportMetric(float64(used.mallocs)/float64(rows), "allocs/row")
	b.ReportMetric(0, "ns/op")
}

type usage struct {
	cpu     time.Duration
	mallocs uint64
}

func measure() usage {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{time.Duration(r.Utime.Nano() + r.Stime.Nano()), m.Mallocs}
}

func (u usage) since(v usage) usage { return usage{u.cpu - v.cpu, u.mallocs - v.mallocs} }

func findPSQL(b *testing.B) string {
	b.Helper()
	if p, err := exec.LookPath("psql"); err == nil {
		return p
	}
	list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
	if len(list) == 0 {
		b.Skip("no psql on this machine")
	}
	return slices.Max(list)
}

func benchSize(b *testing.B, name string, usual int) int {
	b.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(usual)))
	if err != nil || n <= 0 {
		b.Fatalf("%s: want a positive number", name)
	}
	return n
}

// copyFile writes the rows as psql is to copy them.
func copyFile(b *testing.B, dir, name string, run record.UUID, changes []record.Change) string {
	b.Helper()
	var buf copyBuffer
	buf.reset(transcriptColumns)
	for i := range changes {
		c := &changes[i]
		encodeTranscript(&buf, c.Transcript, linkage{}, stamp{run: run, created: at(0), updated: c.Version.FetchedAt})
	}
	if _, err := buf.finish(); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, buf.b, 0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	return path
}

// prose makes text that compresses about as people's does.
type prose struct {
	rand  *rand.Rand
	words []string
}

func newProse(seed uint64) *prose {
	p := &prose{rand: rand.New(rand.NewPCG(seed, 2))}
	for range 4000 {
		w := make([]byte, 2+p.rand.IntN(9))
		for i := range w {
			w[i] = "etaoinshrdlucmfwypvbgkjqxz"[min(p.rand.IntN(26), p.rand.IntN(26))]
		}
		p.words = append(p.words, string(w))
	}
	return p
}

func (p *prose) text(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(p.words[min(p.rand.IntN(len(p.words)), p.rand.IntN(len(p.words)))])
		b.WriteByte(' ')
	}
	return b.String()
}

func benchConversation(p *prose, i, n int) record.Change {
	return conversationChange(orgA, strconv.Itoa(1_000_000+i), "", n, nil, func(r *record.TranscriptRow) {
		var list []record.Message
		for m := range 8 {
			list = append(list, record.Message{ID: strconv.Itoa(i*10 + m), Speaker: record.SpeakerUser, Kind: "comment", Text: p.text(360), At: at(m), AuthorID: "abc", AuthorName: "Some Body"})
		}
		setMessages(r, list)
		r.Messages = nil
	})
}
