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
	"sync"
	"syscall"
	"testing"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// The benchmarks compare the sink with psql \copy of the same rows, prepared as binary files, into the same tables with the same indexes. The
// variants take turns, after one round to warm up; what is reported are medians, over the rounds, of psql's time through ours in that round, so
// that more is better, with the smallest and the largest in the log, and counts per object for the client's side.
//
// HALOINGEST_BENCH_ROWS, _BATCH and _ROUNDS set the size (20,000 objects in batches of 1,000, 5 rounds).
type bench struct {
	*testing.B
	*loading
	url, psql   string
	rows, batch int
	rounds      int
	ratios      map[string][]float64
	used        usage
	// CPU time of the server's process in the last turn of psql and of the sink; 0 where it cannot be read.
	theirs, ours time.Duration
}

// backendCPU reads the ticks of 10 ms that the server's process for the connection has used; for superusers on a Linux server.
const backendCPU = `SELECT split_part(f, ' ', 14)::int + split_part(f, ' ', 15)::int FROM pg_read_file('/proc/self/stat') f`

const tick = 10 * time.Millisecond

func (x *bench) sinkCPU() time.Duration {
	if x.sink.session == nil {
		return 0
	}
	var n int
	if err := x.sink.session.conn.QueryRow(x.B.Context(), backendCPU).Scan(&n); err != nil {
		x.B.Logf("the server's CPU time: %v", err)
	}
	return time.Duration(n) * tick
}

func newBench(b *testing.B) *bench {
	x := &bench{B: b, psql: findPSQL(b), ratios: make(map[string][]float64), url: pgtest.New(b)}
	x.rows, x.batch, x.rounds = benchSize(b, "ROWS", 20_000), benchSize(b, "BATCH", 1_000), benchSize(b, "ROUNDS", 5)
	db := openURL(b, x.url)
	if _, err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	x.loading = loadingOn(b, db, acquire(b, db, orgA), "bench")
	return x
}

// script runs psql in one transaction.
func (x *bench) script(sql ...string) time.Duration {
	x.B.Helper()
	began := time.Now()
	out := x.psqlRun(sql...)
	spent := time.Since(began)
	lines := append([]string{""}, strings.Fields(out)...)
	if n, err := strconv.Atoi(lines[len(lines)-1]); err == nil {
		x.theirs = time.Duration(n) * tick
	}
	return spent
}

// psqlRun runs psql and returns what it prints, last its server's processor time.
func (x *bench) psqlRun(sql ...string) string {
	c := exec.Command(x.psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-1", "-d", x.url)
	c.Env = append(os.Environ(), "PGOPTIONS=-c default_toast_compression=lz4")
	c.Stdin = strings.NewReader(strings.Join(sql, "\n") + "\n" + backendCPU + ";\n")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		x.B.Errorf("psql: %v: %s", err, out.String())
	}
	return out.String()
}

// load is the sink's turn.
func (x *bench) load(changes []record.Change) time.Duration {
	x.B.Helper()
	server := x.sinkCPU()
	before, began := measure(), time.Now()
	for part := range slices.Chunk(changes, x.batch) {
		if err := x.try(part...); err != nil {
			x.B.Fatal(err)
		}
	}
	spent := time.Since(began)
	x.used = measure().since(before)
	x.ours = x.sinkCPU() - server
	return spent
}

func (x *bench) add(round int, name string, psql, ours time.Duration) {
	x.B.Logf("round %d %s: psql %v, ours %v", round, name, psql.Round(time.Millisecond), ours.Round(time.Millisecond))
	if round > 0 && ours > 0 {
		x.ratios[name] = append(x.ratios[name], psql.Seconds()/ours.Seconds())
	}
}

// addCPU compares what the server has spent, which a busy machine distorts less than time; both turns must have been the last.
func (x *bench) addCPU(round int, name string, psql, ours time.Duration) {
	x.add(round, name+"-server-CPU", psql, ours)
}

// empty makes room for the next turn, whose sink begins as in a new process: with a new connection and without plans.
func (x *bench) empty(others ...*loading) {
	for _, y := range append(others, x.loading) {
		if err := y.sink.Close(x.B.Context()); err != nil {
			x.B.Fatal(err)
		}
	}
	x.exec(`TRUNCATE end_users, companies, transcripts, tickets, knowledge, ingest.id_map, ingest.pending_links, ingest.contact_companies, ingest.tombstones,
		ingest.before_images; CHECKPOINT`)
}

func (x *bench) client(b *testing.B, name string, rows int) {
	b.ReportMetric(float64(x.used.cpu.Nanoseconds())/1000/float64(rows), name+"-client-µs/row")
	b.ReportMetric(float64(x.used.mallocs)/float64(rows), name+"-allocs/row")
}

func (x *bench) report(b *testing.B) {
	for name, list := range x.ratios {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name)
		b.Logf("%s: min %.2f, median %.2f, max %.2f", name, list[0], list[len(list)/2], list[len(list)-1])
	}
	b.ReportMetric(0, "ns/op")
}

// copyOf is a psql command that copies a file straight into a table.
func copyOf(table string, columns []string, file string) string {
	return `\copy ` + table + ` (` + strings.Join(columns, ", ") + `) FROM '` + file + `' WITH (FORMAT binary)`
}

// BenchmarkTranscripts loads conversations of 8 messages, 4.5 KB a row, without knowledge. The limits are those of performance.md.
//
//	fresh/L1, fresh/L2    an empty table; psql copies straight into it, or into a temp table and runs INSERT … ON CONFLICT … WHERE the hash differs
//	fresh2/L1, /L2, /Lp   likewise, by segments, with two sinks that take half of them each; Lp is two psqls that copy half of the rows each
//	noop/L2n              nothing has changed; psql does as for L2
//	changed/L2c           one row in ten has changed, by a run of its own, which keeps what was there before; likewise
//	noop-WAL-bytes/row    with what other sessions of the server write at the time
func BenchmarkTranscripts(b *testing.B) {
	x := newBench(b)
	lanes := [2]*loading{loadingOn(b, x.db, x.lease, "lane 1"), loadingOn(b, x.db, x.lease, "lane 2")}
	changer := loadingOn(b, x.db, x.lease, "changer")
	text := newProse(1)
	old := make([]record.Change, x.rows)
	for i := range old {
		old[i] = benchConversation(text, i, 1)
	}
	changed := slices.Clone(old)
	for i := 0; i < len(changed); i += 10 {
		changed[i] = benchConversation(text, i, 2)
	}
	list, t := strings.Join(transcriptColumns, ", "), newTargets().transcripts
	half := x.rows / 2
	all, after := x.transcriptFile(b, old), x.transcriptFile(b, changed)
	halves := [2]string{x.transcriptFile(b, old[:half]), x.transcriptFile(b, old[half:])}
	merge := func(file string) []string {
		return []string{"CREATE TEMP TABLE s AS SELECT " + list + " FROM transcripts WITH NO DATA;", copyOf("s", transcriptColumns, file),
			"INSERT INTO transcripts AS t (" + list + ") SELECT " + list + " FROM s ON CONFLICT (org_id, id) DO UPDATE SET " + t.setting("org_id", "id", "created_at") +
				" WHERE t.content_hash IS DISTINCT FROM excluded.content_hash;"}
	}
	both := func(f func(i int)) time.Duration {
		began := time.Now()
		var group sync.WaitGroup
		for i := range 2 {
			group.Go(func() { f(i) })
		}
		group.Wait()
		return time.Since(began)
	}
	for round := range x.rounds + 1 {
		x.empty(changer)
		direct := x.script(copyOf("transcripts", transcriptColumns, all))
		directCPU := x.theirs
		x.empty()
		upsert := x.script(merge(all)...)
		x.empty()
		parallel := both(func(i int) { x.psqlRun(copyOf("transcripts", transcriptColumns, halves[i])) })
		x.empty()
		two := both(func(i int) {
			x.segments(lanes[i].sink, fmt.Sprint(round), [][]record.Change{old[:half], old[half:]}[i])
		})
		x.add(round, "fresh2/L1", direct, two)
		x.add(round, "fresh2/L2", upsert, two)
		x.add(round, "fresh2/Lp", parallel, two)
		x.empty(lanes[0], lanes[1])
		one := x.load(old)
		x.add(round, "fresh/L1", direct, one)
		x.add(round, "fresh/L2", upsert, one)
		x.addCPU(round, "fresh/L1", directCPU, x.ours)
		x.client(b, "fresh", x.rows)
		x.exec(`ANALYZE transcripts`)
		same := x.script(merge(all)...)
		wal := x.wal()
		x.add(round, "noop/L2n", same, x.load(old))
		b.ReportMetric(float64(x.wal()-wal)/float64(x.rows), "noop-WAL-bytes/row")
		x.addCPU(round, "noop/L2n", x.theirs, x.ours)
		x.client(b, "noop", x.rows)
		loader := x.loading
		x.loading = changer
		ours := x.load(changed)
		x.loading = loader
		oursCPU := x.ours
		x.client(b, "changed", x.rows)
		// psql finds the table as we found it.
		x.empty(changer)
		x.script(copyOf("transcripts", transcriptColumns, all))
		x.exec(`ANALYZE transcripts; CHECKPOINT`)
		x.add(round, "changed/L2c", x.script(merge(after)...), ours)
		x.addCPU(round, "changed/L2c", x.theirs, oursCPU)
	}
	x.report(b)
}

// segments loads changes in segments of the batch's size.
func (x *bench) segments(sink *Sink, name string, changes []record.Change) {
	n := 0
	for part := range slices.Chunk(changes, x.batch) {
		n++
		if loaded, err := sink.CommitSegment(x.B.Context(), fmt.Sprint(name, "/", n), pipeline.Batch[record.Change]{Items: part}); err != nil || !loaded {
			x.B.Errorf("segment %d: loaded %t, %v", n, loaded, err)
			return
		}
	}
}

// wal is how far the server has written its log.
func (x *bench) wal() int64 {
	x.B.Helper()
	var n int64
	if err := x.db.Pool().QueryRow(x.B.Context(), `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&n); err != nil {
		x.B.Fatal(err)
	}
	return n
}

// BenchmarkKnowledge loads conversations with six rows of knowledge each, of customers that are known; psql copies both tables.
func BenchmarkKnowledge(b *testing.B) {
	x := newBench(b)
	x.rows /= 4
	const contacts = 500
	var people []record.Change
	for i := range contacts {
		people = append(people, contactChange(orgA, fmt.Sprint("c", i), 1, nil))
	}
	text := newProse(2)
	list := make([]record.Change, x.rows)
	var learnt copyBuffer
	learnt.reset(knowledgeColumns)
	for i := range list {
		id := strconv.Itoa(i)
		var texts []string
		for _, n := range []int{2000, 500, 500, 500, 500, 200} {
			texts = append(texts, text.text(n))
		}
		list[i] = conversationChange(orgA, id, fmt.Sprint("c", i%contacts), 1, texts, benchMessages(text, i))
		user := linkage{endUser: record.RowID(orgA, record.KindContact, fmt.Sprint("c", i%contacts))}
		for j := range list[i].Knowledge {
			encodeKnowledge(&learnt, &list[i].Knowledge[j], list[i].Transcript.ID, user, x.run.ID)
		}
	}
	files := [2]string{x.transcriptFile(b, list), benchFile(b, &learnt)}
	for round := range x.rounds + 1 {
		x.empty()
		direct := x.script(copyOf("transcripts", transcriptColumns, files[0]), copyOf("knowledge", knowledgeColumns, files[1]))
		x.empty()
		x.load(people)
		x.add(round, "fresh/copies", direct, x.load(list))
		x.addCPU(round, "fresh/copies", x.theirs, x.ours)
		x.client(b, "fresh", x.rows)
	}
	x.report(b)
}

// BenchmarkContacts loads contacts with an e-mail address, an external id and a company each; psql copies end_users alone, without deciding who is
// who.
func BenchmarkContacts(b *testing.B) {
	x := newBench(b)
	var companies []record.Change
	for i := range 100 {
		companies = append(companies, companyChange(orgA, fmt.Sprint("k", i), 1, nil))
	}
	list := make([]record.Change, x.rows)
	var rows copyBuffer
	rows.reset(endUserColumns)
	for i := range list {
		list[i] = contactChange(orgA, fmt.Sprint("c", i), 1, func(r *record.EndUserRow) {
			r.ExternalID, r.Email, r.Companies = fmt.Sprint("user-", i), fmt.Sprintf("somebody.%d@example.org", i), []string{fmt.Sprint("k", i%100)}
			r.CustomFields = []byte(fmt.Sprintf(`{"plan":"pro","seats":%d,"note":"%s"}`, i, strings.Repeat("x", 300)))
		})
		r := list[i].EndUser
		encodeEndUser(&rows, r.ID, record.UUID{1}, r.ExternalID, r, stamp{run: x.run.ID, created: at(0), updated: at(0)})
	}
	file := benchFile(b, &rows)
	for round := range x.rounds + 1 {
		x.empty()
		direct := x.script(copyOf("end_users", endUserColumns, file))
		x.empty()
		x.load(companies)
		x.add(round, "fresh/copy", direct, x.load(list))
		x.addCPU(round, "fresh/copy", x.theirs, x.ours)
		x.client(b, "fresh", x.rows)
		x.add(round, "noop/copy", direct, x.load(list))
		x.client(b, "noop", x.rows)
	}
	x.report(b)
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
	n, err := strconv.Atoi(cmp.Or(os.Getenv("HALOINGEST_BENCH_"+name), strconv.Itoa(usual)))
	if err != nil || n <= 0 {
		b.Fatalf("HALOINGEST_BENCH_%s: want a positive number", name)
	}
	return n
}

// transcriptFile writes the rows as psql is to copy them.
func (x *bench) transcriptFile(b *testing.B, changes []record.Change) string {
	b.Helper()
	var buf copyBuffer
	buf.reset(transcriptColumns)
	for i := range changes {
		c := &changes[i]
		encodeTranscript(&buf, c.Transcript, linkage{}, stamp{run: x.run.ID, created: at(0), updated: c.Version.FetchedAt})
	}
	return benchFile(b, &buf)
}

func benchFile(b *testing.B, buf *copyBuffer) string {
	b.Helper()
	if _, err := buf.finish(); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	path := filepath.Join(dir, "rows")
	if err := os.WriteFile(path, buf.b, 0o600); err != nil {
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
	return conversationChange(orgA, strconv.Itoa(i), "", n, nil, benchMessages(p, i))
}

func benchMessages(p *prose, i int) func(r *record.TranscriptRow) {
	return func(r *record.TranscriptRow) {
		var list []record.Message
		for m := range 8 {
			list = append(list, record.Message{ID: strconv.Itoa(i*10 + m), Speaker: record.SpeakerUser, Kind: "comment", Text: p.text(360), At: at(m), AuthorID: "abc", AuthorName: "Some Body"})
		}
		setMessages(r, list)
		r.Messages = nil
	}
}
