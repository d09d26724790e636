package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// keptFile is what one of the three places says of a file: the manifest, the database, the disk.
type keptFile struct {
	Path   string `json:"path"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// keptSnapshot is a snapshot as this test reads it, without any code of the program.
type keptSnapshot struct {
	complete map[string]bool              // by run
	ids      map[string]map[string]int    // by layer and table: how often each source_id is there
	manifest map[string]keptFile          // by path
	mapping  map[string]map[string]string // by run
}

// readSnapshot reads a snapshot and requires that manifests, database and disk agree to the byte.
func (b *bench) readSnapshot(dir string) keptSnapshot {
	b.tb.Helper()
	s := keptSnapshot{complete: map[string]bool{}, ids: map[string]map[string]int{}, manifest: map[string]keptFile{}, mapping: map[string]map[string]string{}}
	disk := map[string]keptFile{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		path, err := filepath.Rel(dir, name)
		path = filepath.ToSlash(path)
		if strings.HasPrefix(path, "manifest/") {
			var m struct {
				Run      string            `json:"run"`
				Complete bool              `json:"complete"`
				Mapping  map[string]string `json:"mapping"`
				Files    []keptFile        `json:"files"`
			}
			if err := json.Unmarshal(raw, &m); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			s.complete[m.Run], s.mapping[m.Run] = m.Complete, m.Mapping
			for _, f := range m.Files {
				s.manifest[f.Path] = f
			}
			return nil
		}
		sum := sha256.Sum256(raw)
		f := keptFile{Path: path, Bytes: int64(len(raw)), SHA256: hex.EncodeToString(sum[:])}
		if strings.HasSuffix(path, ".parquet") {
			f.Rows = s.read(path, raw)
		}
		disk[path] = f
		return err
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	conn, err := pgx.Connect(b.tb.Context(), b.dbURL)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(b.tb.Context()))
	rows, err := conn.Query(b.tb.Context(), `SELECT path, rows, bytes, sha256 FROM ingest.snapshot_files WHERE location = $1`, dir)
	if err != nil {
		b.tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[keptFile])
	if err != nil {
		b.tb.Fatal(err)
	}
	named := map[string]keptFile{}
	for _, f := range list {
		named[f.Path] = f
		if strings.HasSuffix(f.Path, ".enc") { // the test cannot count what it cannot open
			d := disk[f.Path]
			d.Rows = f.Rows
			disk[f.Path] = d
		}
	}
	if diff := cmp.Diff(named, s.manifest); diff != "" {
		b.tb.Errorf("database and manifests differ (-database +manifests):\n%.3000s", diff)
	}
	if diff := cmp.Diff(named, disk); diff != "" {
		b.tb.Errorf("database and disk differ (-database +disk):\n%.3000s", diff)
	}
	return s
}

// read counts the rows of a file by their source_id, with arrow.
func (s keptSnapshot) read(path string, raw []byte) int64 {
	part := strings.Split(path, "/")
	key := part[0] + " " + strings.TrimPrefix(part[3], "table=")
	f, err := file.NewParquetReader(bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		panic(err)
	}
	table, err := r.ReadTable(context.Background())
	if err != nil {
		panic(err)
	}
	defer table.Release()
	if s.ids[key] == nil {
		s.ids[key] = map[string]int{}
	}
	column := table.Column(table.Schema().FieldIndices("source_id")[0])
	for _, chunk := range column.Data().Chunks() {
		for i := range chunk.Len() {
			s.ids[key][chunk.(*array.String).Value(i)]++
		}
	}
	return table.NumRows()
}

// whole requires a snapshot with every object of the workspace and a row, tombstone or reject for each.
func (b *bench) whole(s keptSnapshot) {
	b.tb.Helper()
	n := b.sim.Ledger().Counts()
	rejected := s.ids["rows rejects"]
	for _, c := range []struct {
		kind, table string
		want        int
	}{{"contacts", "end_users", n.Contacts}, {"companies", "companies", n.Companies}, {"conversations", "transcripts", n.Conversations}, {"tickets", "tickets", n.Tickets}} {
		pages, rows := s.ids["pages "+c.kind], s.ids["rows "+c.table]
		if len(pages) < c.want {
			b.tb.Errorf("pages of %d %s, the workspace has %d", len(pages), c.kind, c.want)
		}
		for id := range pages {
			if rows[id] == 0 && rejected[id] == 0 && s.ids["rows tombstones"][id] == 0 {
				b.tb.Errorf("%s %s has a page and neither row nor reject nor tombstone", c.kind, id)
			}
		}
		for id := range rows {
			if pages[id] == 0 {
				b.tb.Errorf("%s %s has a row and no page", c.kind, id)
			}
		}
	}
	got := slices.Collect(maps.Keys(s.ids["rows transcripts"]))
	if stored := scalar[int64](b, `SELECT count(*) FROM public.transcripts`); int64(len(got)) != stored {
		b.tb.Errorf("rows of %d transcripts, the database has %d", len(got), stored)
	}
}

func TestASnapshotHoldsWhatTheWorkspaceAndTheDatabaseHold(t *testing.T) {
	b := newBench(t, crashWorkspace)
	b.connect()
	dir := filepath.Join(b.dir, "snap shot ü")
	said := b.must([]string{"backfill", "--snapshot", dir}, exitDone, exitDiffers)
	s := b.readSnapshot(dir)
	b.whole(s)
	if !strings.Contains(said, dir+": "+fmt.Sprint(len(s.manifest))+" files") {
		t.Errorf("the report does not say where the snapshot is:\n%s", said)
	}
	if shown := b.must([]string{"runs", "show"}); !strings.Contains(shown, dir) {
		t.Errorf("runs show does not say where the snapshot is:\n%s", shown)
	}
	for run, complete := range s.complete {
		if !complete || s.mapping[run]["user_id_field"] != "external_id" || s.mapping[run]["snapshot"] != "" {
			t.Errorf("the manifest of %s: complete %v, mapping %v", run, complete, s.mapping[run])
		}
	}
	// Nothing new: the sync has a manifest of its own and few pages.
	b.must([]string{"sync", "--snapshot", dir}, exitDone, exitDiffers)
	if s := b.readSnapshot(dir); len(s.complete) != 2 {
		t.Errorf("after a sync there are manifests of %v", s.complete)
	}
	// Without --snapshot the same rows come of it.
	sameRows(t, unbroken(t), b.rows())
}

func TestAnEncryptedSnapshotShowsNothingAndAgreesWithTheDatabase(t *testing.T) {
	b := newBench(t, crashWorkspace)
	b.connect()
	dir := filepath.Join(b.dir, "sealed")
	b.must([]string{"backfill", "--snapshot", dir, "--snapshot-encrypt"}, exitDone, exitDiffers)
	s := b.readSnapshot(dir)
	for path := range s.manifest {
		raw, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(path, ".parquet.enc") || bytes.Contains(raw, []byte("conversation")) || bytes.Contains(raw, []byte("PAR1")) {
			t.Errorf("%s is readable", path)
		}
	}
	if len(s.manifest) < 10 {
		t.Errorf("only %d files", len(s.manifest))
	}
	var names record.Reference
	if err := json.Unmarshal([]byte(scalar[string](b, `SELECT reference::text FROM ingest.runs WHERE reference IS NOT NULL`)), &names); err != nil {
		t.Fatal(err)
	}
	hidden := slices.Concat(slices.Collect(maps.Values(names.Teams)), slices.Collect(maps.Values(names.Tags)), []string{names.Workspace.Name, "Reference", `"admins"`})
	for _, a := range names.Admins {
		hidden = append(hidden, a.Name, a.Email)
	}
	if len(hidden) < 10 {
		t.Errorf("the workspace has only the names %q", hidden)
	}
	for run := range s.complete {
		raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash("manifest/org="+testOrg+"/run="+run+".json")))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range hidden { // short ones may stand anywhere in what is sealed
			if len(name) > 5 && bytes.Contains(raw, []byte(name)) {
				t.Errorf("the manifest of %s shows %q", run, name)
			}
		}
	}
	// Whoever has no key sees what runs there are, and nothing more.
	elsewhere := filepath.Join(b.dir, "elsewhere")
	if code, shown, stderr := direct("snapshot", "ls", "--snapshot", dir, "--data-dir", elsewhere); code != exitDone || !strings.Contains(shown, "complete, encrypted") {
		t.Errorf("ls without the key: code %d: %s%s", code, shown, stderr)
	}
	other := pgtest.New(t)
	for _, words := range [][]string{{"snapshot", "verify"}, {"replay", "--remap", "--database-url", other}} {
		words = append(words, "--snapshot", dir, "--data-dir")
		if code, _, stderr := direct(append(words, elsewhere)...); code != exitUsage || !strings.Contains(stderr, "master key") {
			t.Errorf("%v without the key: code %d: %s", words, code, stderr)
		}
		if code, stdout, stderr := direct(append(words, b.dir)...); code != exitDone {
			t.Errorf("%v: code %d: %s%s", words, code, stdout, stderr)
		}
	}
	loaded := *b
	loaded.dbURL = other
	sameRows(t, unbroken(t), loaded.rows())
	code, _, stderr := b.run("backfill", "--snapshot-encrypt")
	if code != exitUsage || !strings.Contains(stderr, "--snapshot-encrypt without --snapshot") {
		t.Errorf("code %d: %s", code, stderr)
	}
}

func TestALocationThatCannotBeUsedIsNamedBeforeAnythingIsRead(t *testing.T) {
	b := newBench(t, crashWorkspace)
	b.connect()
	file := filepath.Join(b.dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := b.sim.Stats().Requests
	for location, want := range map[string]string{
		file:                         file,
		filepath.Join(file, "below"): "not a",
		"ftp://host/x":               "want a folder, or s3://",
		"s3://id:planted@bucket/x":   "holds a user name",
		"s3://bucket?token=planted":  "may hold a secret",
	} {
		code, stdout, stderr := b.run("backfill", "--snapshot", location)
		if code != exitUsage || !strings.Contains(stderr, want) || strings.Contains(stdout+stderr, "planted") {
			t.Errorf("%s: code %d: %s%s", location, code, stdout, stderr)
		}
	}
	if after := b.sim.Stats().Requests; after != before {
		t.Errorf("%d requests were made", after-before)
	}
	if n := scalar[int64](b, `SELECT count(*) FROM ingest.runs`); n != 0 {
		t.Errorf("%d runs were begun", n)
	}
}

// A disk that takes no more files ends the run; what is committed and what the manifest names is the same, and the same command goes on.
func TestADiskThatTakesNoMoreEndsTheRunWhereItIs(t *testing.T) {
	want := unbroken(t)
	b := newBench(t, crashWorkspace)
	b.connect()
	dir := filepath.Join(b.dir, "snap")
	// Rows of tickets cannot be written: a file stands where their folder has to be made, once the run's folder is known.
	interrupted := b.process("backfill", "--snapshot", dir, "--only", "companies,contacts,conversations,tickets")
	stop := time.AfterFunc(time.Minute, func() { _ = interrupted.Process.Kill() })
	defer stop.Stop()
	if err := interrupted.Start(); err != nil {
		t.Fatal(err)
	}
	var obstacle string
	for obstacle == "" {
		manifests, _ := filepath.Glob(filepath.Join(dir, "manifest", "org=*", "run=*.json"))
		if len(manifests) > 0 {
			run := strings.TrimSuffix(filepath.Base(manifests[0]), ".json")
			obstacle = filepath.Join(dir, "rows", "org="+testOrg, run, "table=tickets")
			if err := os.MkdirAll(filepath.Dir(obstacle), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	_ = interrupted.Wait()
	if code := interrupted.ProcessState.ExitCode(); code != exitIncomplete || !strings.Contains(b.stderr.String(), "table=tickets") || !strings.Contains(b.stderr.String(), dir) {
		t.Fatalf("code %d: %s", code, b.stderr.String())
	}
	if n := scalar[int64](b, `SELECT count(*) FROM public.tickets`); n != 0 {
		t.Errorf("%d tickets are loaded without a snapshot", n)
	}
	if n := scalar[int64](b, `SELECT count(*) FROM public.transcripts`); n == 0 {
		t.Error("what could be written was not loaded")
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	b.finish("backfill", "--snapshot", dir, "--only", "companies,contacts,conversations,tickets")
	b.whole(b.readSnapshot(dir))
	if n := scalar[int64](b, `SELECT count(*) FROM ingest.runs`); n != 1 {
		t.Errorf("it took %d runs", n)
	}
	sameRows(t, want, b.rows())
}

// A killed run that is given again ends with a snapshot in which every committed file is named, and no other file is there (F1).
func TestKilledAtRandomTimesASnapshotAgreesWithTheDatabase(t *testing.T) {
	want := unbroken(t)
	kills, rounds, most := 0, 0, 15
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		most = 300
	}
	random := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	for ; kills < most; rounds++ {
		if rounds > most {
			t.Fatalf("only %d kills in %d rounds", kills, rounds)
		}
		b := newBench(t, crashWorkspace)
		b.connect()
		dir := filepath.Join(b.dir, "snap")
		command := []string{"backfill", "--scroll-wait", "1s", "--snapshot", dir}
		for range 6 {
			cmd := b.process(command...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			err := killAtFile(cmd.Process, ended, dir, random.IntN(14), time.Duration(random.Int64N(int64(2*time.Second))))
			if err == nil || cmd.ProcessState.ExitCode() == exitDiffers {
				break
			}
			if !killed(err) {
				t.Fatalf("%v: %v\n%s", command, err, b.stderr.String())
			}
			kills++
		}
		b.finish(command...)
		b.whole(b.readSnapshot(dir))
		sameRows(t, want, b.rows())
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills in %d rounds", kills, rounds)
}

// killAtFile kills the process as soon as there are so many more files in dir, finished or not, or at the latest after a span; so that kills fall
// between pages, rows and commit. It returns how the process ended.
func killAtFile(process *os.Process, ended <-chan error, dir string, more int, atLatest time.Duration) error {
	count := func() (n int) {
		_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error { // files come and go meanwhile
			if err == nil && !e.IsDir() {
				n++
			}
			return nil
		})
		return n
	}
	late := time.After(atLatest)
	for before := count(); ; {
		select {
		case err := <-ended:
			return err
		case <-late:
			_ = process.Kill()
			return <-ended
		default:
		}
		if count() > before+more {
			_ = process.Kill()
			return <-ended
		}
	}
}
