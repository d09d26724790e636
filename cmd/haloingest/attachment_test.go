package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/sources/intercom/intercomtest"
)

// fileWorkspace has files of every sort in conversations and tickets.
var fileWorkspace = intercomtest.Options{
	Seed: 3, Conversations: 100, Contacts: 60, Companies: -1, Tickets: 60, Oddities: -1, Files: true, FileSize: 2500,
}

const fileRequests = "GET /i/o/{file}"

// wantedFiles is what the workspace says that it has, one line for each place in which a file is named.
func (b *bench) wantedFiles(kinds ...intercomtest.Kind) map[string]string {
	want := map[string]string{}
	for f := range b.sim.Ledger().Files() {
		n, message := f.N, f.MessageID
		if f.Inline {
			n += 1000
		}
		if f.Attribute != "" {
			message = "ticket_attributes." + f.Attribute
		}
		for _, kind := range kinds {
			if f.Kind == kind {
				want[fmt.Sprintf("%s %s %s/%d", strings.TrimSuffix(string(f.Kind), "s"), f.ObjectID, message, n)] = fmt.Sprintf("%s %d %s", f.URL, f.Size, f.SHA256)
			}
		}
	}
	return want
}

// query gives the rows of a query as text.
func (b *bench) query(query string, args ...any) [][]string {
	b.tb.Helper()
	conn, err := pgx.Connect(context.Background(), b.dbURL)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), query, args...)
	if err != nil {
		b.tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]string, error) {
		values, err := row.Values()
		text := make([]string, len(values))
		for i, v := range values {
			text[i] = fmt.Sprint(v)
		}
		return text, err
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	return list
}

// savedFiles is what the database says that is saved, in the same form; the hash is that of the file in the folder, computed here.
func (b *bench) savedFiles(dir string) map[string]string {
	b.tb.Helper()
	saved := map[string]string{}
	for _, r := range b.query(`SELECT kind, source_id, message_id, n::text, url, coalesce(bytes, -1)::text, coalesce(path, ''), coalesce(sha256, ''), coalesce(error, '') FROM ingest.attachments WHERE org_id = $1`, testOrg) {
		place := fmt.Sprintf("%s %s %s/%s", r[0], r[1], r[2], r[3])
		if r[6] == "" {
			saved[place] = r[4] + " not saved: " + r[8]
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, r[6]))
		if err != nil {
			b.tb.Error(err)
		}
		sum := sha256.Sum256(content)
		if hex.EncodeToString(sum[:]) != r[7] || fmt.Sprint(len(content)) != r[5] {
			b.tb.Errorf("%s: the table says %s bytes, %s; the file has %d, %x", place, r[5], r[7], len(content), sum)
		}
		saved[place] = fmt.Sprintf("%s %d %x", r[4], len(content), sum)
	}
	return saved
}

// fileReport is the part of a run's JSON that is about files.
type fileReport struct {
	Attachments struct {
		Objects, Saved, Held, Bytes, Lacking int64
		NotSaved                             map[string]int64 `json:"not_saved"`
	}
	ExitCode int `json:"exit_code"`
}

func (b *bench) report(words []string, codes ...int) (r fileReport) {
	b.tb.Helper()
	if err := json.Unmarshal([]byte(b.must(append(words, "--json"), codes...)), &r); err != nil {
		b.tb.Fatal(err)
	}
	return r
}

func (b *bench) noViolation() {
	b.tb.Helper()
	if v := b.sim.Stats().Violations; len(v) > 0 {
		b.tb.Errorf("%d violations: %s", len(v), v[0])
	}
}

func TestABackfillSavesEveryFileAndRecordsItWithItsObject(t *testing.T) {
	t.Parallel()
	b := newBench(t, fileWorkspace)
	b.connect()
	dir := filepath.Join(b.dir, "files")
	first := b.report([]string{"backfill", "--attachments", dir})
	want := b.wantedFiles(intercomtest.Conversations, intercomtest.Tickets)
	if diff := cmp.Diff(want, b.savedFiles(dir)); diff != "" {
		t.Errorf("files (-ledger +saved):\n%.3000s", diff)
	}
	if a := first.Attachments; a.Saved+a.Held != int64(len(want)) || a.Objects != int64(fileWorkspace.Conversations+fileWorkspace.Tickets) || len(a.NotSaved) > 0 {
		t.Errorf("the report says %+v; there are %d files", a, len(want))
	}
	// Every attachment that the rows name has its record, at the same place and address.
	for table, kind := range map[string]string{"transcripts": "conversation", "tickets": "ticket"} {
		rows := b.query(`SELECT t.source_id, m.value->>'id', f.i - 1, f.value->>'url', count(a.*), count(*) OVER ()
			FROM `+table+` t CROSS JOIN jsonb_array_elements(t.messages) m CROSS JOIN jsonb_array_elements(m.value->'attachments') WITH ORDINALITY f(value, i)
				LEFT JOIN ingest.attachments a ON a.kind = $1 AND a.source_id = t.source_id AND a.message_id = m.value->>'id' AND a.n = f.i - 1
					AND a.url = f.value->>'url' AND a.path IS NOT NULL AND a.size = (f.value->>'size')::bigint AND a.name = f.value->>'name'
			GROUP BY 1, 2, 3, 4`, kind)
		if len(rows) < 5 {
			t.Errorf("%s name only %d attachments", table, len(rows))
		}
		for _, r := range rows {
			if r[4] != "1" {
				t.Errorf("%s: attachment %v has no record", table, r)
			}
		}
	}
	requests := b.sim.Stats().Endpoints[fileRequests]
	before := b.rows()
	second := b.report([]string{"backfill", "--attachments", dir})
	if a := second.Attachments; a.Saved != 0 || a.Held != int64(len(want)) {
		t.Errorf("the second report says %+v; there are %d files", a, len(want))
	}
	if n := b.sim.Stats().Endpoints[fileRequests] - requests; n != 0 {
		t.Errorf("the second backfill asked for %d files", n)
	}
	sameRows(t, before, b.rows())
	b.noViolation()
	err := filepath.WalkDir(filepath.Join(dir, "tmp"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Rows that are equal already still get their files, for those streams that are asked for.
func TestFilesAreSavedOfObjectsThatAreLoadedAlready(t *testing.T) {
	t.Parallel()
	b := newBench(t, fileWorkspace)
	b.connect()
	b.must([]string{"backfill"})
	if rows := b.query(`SELECT FROM ingest.attachments`); len(rows) > 0 || b.sim.Stats().Endpoints[fileRequests] > 0 {
		t.Errorf("%d files without --attachments", len(rows))
	}
	dir := filepath.Join(b.dir, "files")
	b.must([]string{"backfill", "--only", "tickets", "--attachments", dir})
	if diff := cmp.Diff(b.wantedFiles(intercomtest.Tickets), b.savedFiles(dir)); diff != "" {
		t.Errorf("files of tickets (-ledger +saved):\n%.3000s", diff)
	}
	b.must([]string{"backfill", "--only", "conversations", "--attachments", dir})
	if diff := cmp.Diff(b.wantedFiles(intercomtest.Conversations, intercomtest.Tickets), b.savedFiles(dir)); diff != "" {
		t.Errorf("files (-ledger +saved):\n%.3000s", diff)
	}
	b.noViolation()
}

// What could not be saved is recorded, ends the command with 1, and is tried again by the next sync although nothing changed.
func TestASyncTriesAgainWhatCouldNotBeSaved(t *testing.T) {
	t.Parallel()
	o := fileWorkspace
	o.Now = func() time.Time { return time.Now().Add(-time.Minute) }
	b := newBench(t, o)
	b.connect()
	dir := filepath.Join(b.dir, "files")
	if err := b.sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultNotFound, Path: "GET /i/o/*/*/*/*.pdf"}); err != nil {
		t.Fatal(err)
	}
	want := b.wantedFiles(intercomtest.Conversations, intercomtest.Tickets)
	lost := map[string]string{}
	for place, file := range want {
		if strings.Contains(file, ".pdf ") {
			lost[place] = file
			want[place] = file[:strings.IndexByte(file, ' ')] + " not saved: the file's host answers with status 404, also with a fresh link"
		}
	}
	r := b.report([]string{"backfill", "--attachments", dir}, exitDiffers)
	if diff := cmp.Diff(want, b.savedFiles(dir)); diff != "" {
		t.Errorf("files (-want +saved):\n%.3000s", diff)
	}
	if len(lost) == 0 || r.Attachments.NotSaved["refused"] != int64(len(lost)) {
		t.Errorf("the report says %v; %d files are at fault", r.Attachments.NotSaved, len(lost))
	}
	if err := b.sim.SetFaults(); err != nil {
		t.Fatal(err)
	}
	b.must([]string{"sync"})
	if diff := cmp.Diff(want, b.savedFiles(dir)); diff != "" {
		t.Errorf("files after a sync without --attachments (-want +saved):\n%.3000s", diff)
	}
	b.must([]string{"sync", "--attachments", dir})
	for place, file := range lost {
		want[place] = file
	}
	if diff := cmp.Diff(want, b.savedFiles(dir)); diff != "" {
		t.Errorf("files after a sync (-ledger +saved):\n%.3000s", diff)
	}
	requests := b.sim.Stats().Requests
	b.must([]string{"sync", "--attachments", dir})
	if n := b.sim.Stats().Endpoints["GET /conversations/{id}"]; n == 0 || b.sim.Stats().Requests-requests > 40 {
		t.Errorf("with all saved, a sync made %d requests", b.sim.Stats().Requests-requests)
	}
	b.noViolation()
}

// A backfill that is killed while it downloads goes on with what is missing, and downloads little twice.
func TestAKilledBackfillGoesOnWithItsFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t, fileWorkspace)
	b.connect()
	dir := filepath.Join(b.dir, "files")
	want := b.wantedFiles(intercomtest.Conversations, intercomtest.Tickets)
	different := map[string]bool{}
	for _, file := range want {
		different[file] = true
	}
	const kills = 4
	for k := range kills {
		cmd := b.process("backfill", "--attachments", dir, "--attachments-rate", "100kB")
		at := b.sim.Stats().Endpoints[fileRequests] + int64(5+13*k)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		killed := false
		for !killed {
			select {
			case err := <-ended:
				t.Fatalf("it ended by itself: %v\n%s", err, b.stderr.String())
			case <-time.After(time.Millisecond):
				if killed = b.sim.Stats().Endpoints[fileRequests] >= at; killed {
					_ = cmd.Process.Kill()
					<-ended
				}
			}
		}
	}
	b.finish("backfill", "--attachments", dir)
	if diff := cmp.Diff(want, b.savedFiles(dir)); diff != "" {
		t.Errorf("files (-ledger +saved):\n%.3000s", diff)
	}
	// Eight are under way at once.
	if n := b.sim.Stats().Endpoints[fileRequests]; n > int64(len(different)+8*kills) {
		t.Errorf("%d requests for %d files over %d kills", n, len(different), kills)
	}
	b.noViolation()
}

// An interrupted backfill that goes on with --attachments says that it lacks the files of what it had loaded before.
func TestAResumedBackfillSaysWhichFilesItDidNotAskFor(t *testing.T) {
	t.Parallel()
	o := fileWorkspace
	o.Tickets = 400
	b := newBench(t, o)
	b.connect()
	if err := b.sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultTokenRevoked, Path: "POST /tickets/search", From: 4}); err != nil {
		t.Fatal(err)
	}
	b.must([]string{"backfill"}, exitIncomplete)
	if err := b.sim.SetFaults(); err != nil {
		t.Fatal(err)
	}
	loaded := b.query(`SELECT (SELECT count(*) FROM transcripts) + (SELECT count(*) FROM tickets)`)[0][0]
	dir := filepath.Join(b.dir, "files")
	code, stdout, stderr := b.run("backfill", "--attachments", dir)
	if code != exitDone || !strings.Contains(stdout, "files of "+loaded+" objects") || !strings.Contains(stderr, "objects="+loaded) {
		t.Errorf("code %d, %s objects were loaded before\n%s%s", code, loaded, stdout, stderr)
	}
	b.must([]string{"backfill", "--restart", "--attachments", dir})
	if diff := cmp.Diff(b.wantedFiles(intercomtest.Conversations, intercomtest.Tickets), b.savedFiles(dir)); diff != "" {
		t.Errorf("files (-ledger +saved):\n%.3000s", diff)
	}
}

// What an object does not name any more is not wanted any more.
func TestAFileOfARedactedMessageIsNoLongerWanted(t *testing.T) {
	t.Parallel()
	o := fileWorkspace
	o.Now = func() time.Time { return time.Now().Add(-time.Minute) }
	b := newBench(t, o)
	b.connect()
	dir := filepath.Join(b.dir, "files")
	b.must([]string{"backfill", "--attachments", dir})
	redacted := false
	for c := range b.sim.Ledger().Conversations() {
		if c.Messages[0].Attachments > 0 && !redacted {
			redacted = true
			if err := b.sim.Redact(c.ID, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.must([]string{"sync", "--attachments", dir})
	if diff := cmp.Diff(b.wantedFiles(intercomtest.Conversations, intercomtest.Tickets), b.savedFiles(dir)); diff != "" || !redacted {
		t.Errorf("files (-ledger +saved):\n%.3000s", diff)
	}
}

func TestSizesAreReadWithTheirUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1": 1, "1048576": 1 << 20, "500kB": 500_000, "500 KB": 500_000, "20MB": 20_000_000, "100MiB": 100 << 20, "1.5GiB": 3 << 29, "2g": 2e9, "1Ti": 1 << 40, " 7 b ": 7,
		"": 0, "0": 0, "-1": 0, "MB": 0, "NaN": 0, "1.2.3M": 0, "5 parsecs": 0, "99999999TiB": 0, "0.1": 0, "1MBB": 0,
	} {
		if got, ok := parseSize(text); got != want || ok != (want > 0) {
			t.Errorf("%q is %d, %v, want %d", text, got, ok, want)
		}
	}
	b := newBench(t, intercomtest.Options{Conversations: 1})
	b.connect()
	blocked := filepath.Join(b.dir, "a file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{
		{"--attachments", blocked}, {"--attachments", b.dir, "--attachments-max-bytes", "many"}, {"--attachments", b.dir, "--attachments-rate", "0"},
	} {
		code, _, stderr := b.run(append([]string{"backfill"}, words...)...)
		if code != exitUsage || !strings.Contains(stderr, words[len(words)-2]) {
			t.Errorf("%v: code %d, %s", words, code, stderr)
		}
	}
}
