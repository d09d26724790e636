package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/sinks/diff"
	"haloingest/sources/intercom/intercomtest"
)

// diffWorkspace has every kind of object, and nothing that is odd.
var diffWorkspace = intercomtest.Options{
	Seed: 11, Conversations: 160, Contacts: 120, Companies: 20, Tickets: 40, Oddities: -1, Timezone: "UTC",
	Now: func() time.Time { return time.Now().Add(-time.Minute) },
}

// compared is what a diff has reported.
type compared struct {
	diff.Report
	code     int
	findings []diff.Finding
}

// diff runs the command with a report folder and reads what is in it.
func (b *bench) diff(words ...string) compared {
	b.tb.Helper()
	dir := filepath.Join(b.tb.TempDir(), "report")
	code, stdout, stderr := b.run(append([]string{"diff", "--report", dir, "--format", "json"}, words...)...)
	out := compared{code: code}
	if err := json.Unmarshal([]byte(stdout), &out.Report); err != nil {
		b.tb.Fatalf("haloingest diff %v ended with code %d and no report: %v\n%s%s", words, code, err, stdout, stderr)
	}
	f, err := os.Open(filepath.Join(dir, "differences.jsonl"))
	if err != nil {
		b.tb.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var x diff.Finding
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			b.tb.Fatal(err)
		}
		out.findings = append(out.findings, x)
	}
	return out
}

// faults are the findings of the classes that make a diff differ: entity, id and class, with the columns.
func (c compared) faults() map[string]string {
	list := map[string]string{}
	for _, f := range c.findings {
		switch f.Class {
		case diff.Missing, diff.Extra, diff.Changed, diff.Unresolved:
		default:
			continue
		}
		var columns []string
		for _, cell := range f.Cells {
			columns = append(columns, cell.Column)
		}
		key := f.Entity + " " + f.SourceID + " " + string(f.Class)
		columns = append(columns, strings.Fields(list[key])...)
		slices.Sort(columns)
		list[key] = strings.Join(slices.Compact(columns), " ")
	}
	return list
}

// sql executes statements.
func (b *bench) sql(statements ...string) {
	b.tb.Helper()
	conn, err := pgx.Connect(b.tb.Context(), b.dbURL)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer conn.Close(b.tb.Context())
	for _, s := range statements {
		tag, err := conn.Exec(b.tb.Context(), s)
		if err != nil {
			b.tb.Fatalf("%s: %v", s, err)
		}
		if tag.RowsAffected() == 0 {
			b.tb.Fatalf("%s: nothing was changed", s)
		}
	}
}

// a planted fault, and the findings that it must give.
type planted struct {
	sql  string
	want map[string]string // entity, id and class: columns
}

// plant makes faults of every kind by plain SQL, in objects of their own.
func plant(b *bench) map[string]string {
	b.tb.Helper()
	pick := func(table, where string, n int) string {
		return scalar[string](b, `SELECT source_id FROM (SELECT source_id, row_number() OVER (ORDER BY source_id) AS n FROM public.`+
			table+` WHERE deleted_at IS NULL AND `+where+`) t WHERE n = $1`, n)
	}
	person := func(n int) string { return pick("end_users", "email IS NOT NULL AND name IS NOT NULL", n) }
	// Conversations with knowledge, a customer, and no ticket.
	talk := func(n int) string {
		return pick("transcripts", `end_user_id IS NOT NULL AND complete AND EXISTS (SELECT 1 FROM public.knowledge k WHERE k.transcript_id = transcripts.id)
			AND NOT EXISTS (SELECT 1 FROM public.tickets x WHERE x.transcript_id = transcripts.id)`, n)
	}
	ticket := func(n int) string { return pick("tickets", "transcript_id IS NULL", n) }
	silent := pick("end_users", `NOT EXISTS (SELECT 1 FROM public.transcripts t WHERE t.end_user_id = end_users.id)
		AND NOT EXISTS (SELECT 1 FROM public.tickets x WHERE x.end_user_id = end_users.id)
		AND (SELECT count(*) FROM ingest.id_map m WHERE m.row_id = end_users.id) = 1`, 1)
	company := func(n int) string {
		return pick("companies", "NOT EXISTS (SELECT 1 FROM public.end_users u WHERE u.company_id = companies.id)", n)
	}
	update := func(table, set, id string) string {
		return "UPDATE public." + table + " SET " + set + " WHERE source_id = '" + id + "'"
	}
	faults := []planted{
		{update("end_users", "name = 'Mallory'", person(3)), map[string]string{"end_users " + person(3) + " changed": "name"}},
		{update("end_users", `email = 'mallory@example.com', content_hash = '\x00112233445566778899aabbccddeeff'`, person(7)),
			map[string]string{"end_users " + person(7) + " changed": "content_hash email"}},
		{update("transcripts", "messages = jsonb_set(messages, '{0,text}', '\"not what was said\"')", talk(2)),
			map[string]string{"transcripts " + talk(2) + " changed": "messages"}},
		{update("transcripts", `status = 'lost', outcome = 'won', content_hash = '\x00112233445566778899aabbccddeeff'`, talk(4)),
			map[string]string{"transcripts " + talk(4) + " changed": "content_hash outcome status"}},
		{"DELETE FROM public.transcripts WHERE source_id = '" + talk(6) + "'", map[string]string{"transcripts " + talk(6) + " missing": ""}},
		{update("tickets", "message = message || ' '", ticket(3)), map[string]string{"tickets " + ticket(3) + " changed": "message"}},
		{"DELETE FROM public.tickets WHERE source_id = '" + ticket(5) + "'", map[string]string{"tickets " + ticket(5) + " missing": ""}},
		{`INSERT INTO public.tickets (org_id, id, source_id, source_updated_at, subject, status, content_hash, run_id, metadata)
			SELECT org_id, gen_random_uuid(), '77777777', source_updated_at, subject, status, content_hash, run_id, metadata FROM public.tickets WHERE source_id = '` + ticket(1) + `'`,
			map[string]string{"tickets 77777777 extra": ""}},
		{update("companies", "name = name || '!'", company(1)), map[string]string{"companies " + company(1) + " changed": "name"}},
		{"INSERT INTO public.knowledge (org_id, id, key, kind, content, source_id, transcript_id, end_user_id, company_id, metadata, content_hash) SELECT org_id, " +
			"gen_random_uuid(), key, 'fact', 'planted', source_id, transcript_id, end_user_id, company_id, metadata, content_hash FROM public.knowledge WHERE source_id = '" + talk(12) + "' LIMIT 1",
			map[string]string{"knowledge " + talk(12) + " extra": ""}},
		{"DELETE FROM public.knowledge WHERE id = (SELECT id FROM public.knowledge WHERE source_id = '" + talk(14) + "' ORDER BY id LIMIT 1)",
			map[string]string{"knowledge " + talk(14) + " changed": ""}},
		{"UPDATE public.transcripts SET deleted_at = now() WHERE source_id = '" + talk(16) + "'", map[string]string{"transcripts " + talk(16) + " missing": ""}},
		// Nobody is bound to that row any more, and the contact to none.
		{"DELETE FROM ingest.id_map WHERE kind = 'contact' AND source_id = '" + silent + "'",
			map[string]string{"end_users " + silent + " missing": "", "end_users " + silent + " extra": ""}},
		{"UPDATE public.knowledge SET content = 'made up' WHERE id = (SELECT id FROM public.knowledge WHERE source_id = '" + talk(8) + "' ORDER BY id LIMIT 1)",
			map[string]string{"knowledge " + talk(8) + " changed": "content"}},
		// Whose knowledge it is follows from the transcript, so it is not as it should be either.
		{update("transcripts", "end_user_id = NULL", talk(10)), map[string]string{
			"transcripts " + talk(10) + " changed": "end_user_id", "knowledge " + talk(10) + " changed": "end_user_id",
		}},
	}
	want := map[string]string{}
	var statements []string
	for _, f := range faults {
		statements = append(statements, f.sql)
		for key, columns := range f.want {
			want[key] = columns
		}
	}
	b.sql(statements...)
	return want
}

func TestAllAndOnlyPlantedFaultsAreFoundAndMended(t *testing.T) {
	t.Parallel()
	b := newBench(t, diffWorkspace)
	b.connect()
	b.must([]string{"backfill"})
	if c := b.diff("intercom", "postgres"); c.code != exitDone || c.Verdict != diff.VerdictEqual || len(c.faults()) > 0 {
		t.Fatalf("after a backfill: code %d, %s, %v", c.code, c.Sentence, c.faults())
	}
	want := plant(b)
	c := b.diff("intercom", "postgres")
	if diff := cmp.Diff(want, c.faults()); diff != "" {
		t.Errorf("planted faults (-planted +found):\n%s", diff)
	}
	if c.code != exitDiffers || c.Verdict != diff.VerdictDifferent || !strings.HasPrefix(c.Sentence, "NOT SAFE: ") {
		t.Errorf("code %d, verdict %s: %s", c.code, c.Verdict, c.Sentence)
	}
	b.must([]string{"sync", "--from-diff", c.ID.String()})
	if again := b.diff("intercom", "postgres"); again.code != exitDone || len(again.faults()) > 0 {
		t.Errorf("after mending: code %d, %s, %v", again.code, again.Sentence, again.faults())
	}
}

// While people go on writing, a difference is confirmed only if it is one.
func TestWhatMovesDuringADiffIsNoDifferenceAndFaultsAreFoundAllTheSame(t *testing.T) {
	t.Parallel()
	o := diffWorkspace
	o.Now = nil // what changes changes now
	b := newBench(t, o)
	b.connect()
	b.must([]string{"backfill"})
	want := plant(b)
	maps.DeleteFunc(want, func(key, _ string) bool { // the others take as long again
		return !strings.HasPrefix(key, "transcripts ") && !strings.HasPrefix(key, "knowledge ")
	})
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			b.sim.TouchRandom(intercomtest.Conversations, 1)
		}
	}()
	c := b.diff("intercom", "postgres", "--only", "conversations")
	close(stop)
	<-ended
	moved := map[string]bool{}
	for _, f := range c.findings {
		if f.Class == diff.InFlight {
			moved[f.Entity+" "+f.SourceID] = true
		}
	}
	if len(moved) == 0 {
		t.Error("nothing was in flight, although everything moved")
	}
	for key := range c.faults() {
		if _, planted := want[key]; !planted {
			t.Errorf("found and not planted: %s (watermark %v)", key, c.Watermark)
		}
	}
	for key := range want {
		object := key[:strings.LastIndex(key, " ")]
		if _, found := c.faults()[key]; !found && !moved[object] {
			t.Errorf("planted and not found: %s", key)
		}
	}
}

// Conversations of which Intercom gives 500 parts only, objects that cannot be mapped and merged contacts are explained by name.
func TestWhatIsNotInHaloForAReasonIsExplained(t *testing.T) {
	t.Parallel()
	o := diffWorkspace
	o.Oddities = 250
	b := newBench(t, o)
	b.connect()
	b.must([]string{"backfill"}, exitDone, exitDiffers)
	var hidden int64
	for c := range b.sim.Ledger().Conversations() {
		if c.Hidden > 0 {
			hidden++
		}
	}
	if hidden == 0 {
		t.Fatal("no conversation of the workspace has more than 500 parts")
	}
	// Of some Intercom does not tell how many parts they have; those are read.
	fast := b.diff("intercom", "postgres", "--level", "fast")
	if fast.code != exitDone || len(fast.findings) > 0 {
		t.Errorf("level fast: code %d, %s: %+v", fast.code, fast.Sentence, fast.findings)
	}
	c := b.diff("intercom", "postgres")
	if c.code != exitDone || len(c.faults()) > 0 {
		t.Errorf("code %d, %s: %v", c.code, c.Sentence, c.faults())
	}
	cut := false
	for _, x := range c.Checks {
		cut = cut || strings.Contains(x.Detail, "more than the 500 parts")
	}
	if !cut {
		t.Errorf("%d conversations are cut by Intercom, and no check says so: %+v", hidden, c.Checks)
	}

	// A newer part pushes an older one out of the 500: Halo keeps it, and has more than Intercom gives.
	for c := range b.sim.Ledger().Conversations() {
		if c.Hidden > 0 {
			if _, err := b.sim.Reply(c.ID, "user", "One more thing."); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.must([]string{"sync"}, exitDone, exitDiffers)
	c = b.diff("intercom", "postgres", "--only", "conversations")
	if c.code != exitDone || len(c.faults()) > 0 {
		t.Errorf("after more parts: code %d, %s: %v", c.code, c.Sentence, c.faults())
	}

	// Conversations of a lead that was merged name the survivor from then on, without a new version: no sync can see that.
	var lead, user string
	for x := range b.sim.Ledger().Contacts() {
		if x.Role == "lead" {
			lead = x.ID
		} else if user == "" {
			user = x.ID
		}
	}
	if err := b.sim.MergeContacts(lead, user); err != nil {
		t.Fatal(err)
	}
	b.must([]string{"sync"}, exitDone, exitDiffers)
	concerned := scalar[[]string](b, `SELECT coalesce(array_agg(source_id), '{}') FROM (SELECT source_id FROM public.transcripts WHERE source_contact_id = $1
		UNION SELECT source_id FROM public.tickets WHERE source_contact_id = $1) t`, lead)
	c = b.diff("intercom", "postgres")
	for key := range c.faults() {
		if !slices.Contains(concerned, strings.Fields(key)[1]) {
			t.Errorf("after a merge: %s; only conversations and tickets of the merged contact can differ: %v", key, concerned)
		}
	}
	b.must([]string{"sync", "--from-diff", c.ID.String()}, exitDone, exitDiffers)
	if c = b.diff("intercom", "postgres"); c.code != exitDone || len(c.faults()) > 0 {
		t.Errorf("after a merge and mending: code %d, %s: %v", c.code, c.Sentence, c.faults())
	}
}

// A token that dies on the way, an interrupt and a kill leave a report that says how far it came, and no files.
func TestADiffThatDoesNotComeToItsEndSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, diffWorkspace)
	b.connect()
	b.must([]string{"backfill"})
	if err := b.sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultTokenRevoked, Path: "GET /conversations/*", From: 20}); err != nil {
		t.Fatal(err)
	}
	c := b.diff("intercom", "postgres")
	if c.code != exitIncomplete || c.Verdict != diff.VerdictPartial || len(c.Entities) < 3 || !c.Entities[2].Partial {
		t.Errorf("a token that was revoked: code %d, verdict %s, %s", c.code, c.Verdict, c.Sentence)
	}
	if err := b.sim.SetFaults(); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		if err := b.sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultStall, Path: "GET /conversations/*", From: 20}); err != nil {
			t.Fatal(err)
		}
		cmd := b.process("diff", "intercom", "postgres", "--json")
		cmd.Env = append(cmd.Env, "TMPDIR="+temp)
		var out bytes.Buffer
		cmd.Stdout = &out
		before := b.sim.Stats().Endpoints["GET /conversations/{id}"]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for b.sim.Stats().Endpoints["GET /conversations/{id}"] < before+20 {
			time.Sleep(5 * time.Millisecond)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its code says it
		if signal == os.Interrupt {
			var r diff.Report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("%v\n%s%s", err, out.String(), b.stderr.String())
			}
			if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || r.Verdict != diff.VerdictPartial {
				t.Errorf("interrupted: code %d, verdict %s", code, r.Verdict)
			}
			if stored := scalar[string](b, `SELECT verdict FROM ingest.diff_runs ORDER BY started_at DESC LIMIT 1`); stored != "partial" {
				t.Errorf("stored as %s", stored)
			}
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("%v leaves temporary files: %v, %v", signal, left, err)
		}
	}
}
