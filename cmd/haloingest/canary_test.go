package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/sources/intercom/intercomtest"
)

// What must be nowhere: secrets in no output and in no table, personal data in no log and no error.
const (
	canaryToken   = "dG9rOmNhbmFyeS1hY2Nlc3MtdG9rZW4tOTk5"
	canaryHook    = "canary-webhook-secret-777"
	canaryMail    = "canary.person@example.com"
	canaryName    = "Canary Featherstone"
	canaryMessage = "The canary sings at a quarter past midnight"
)

var canaryMasterKey = []byte("canary-master-key-of-32-bytes-!!")

// aviary is a bench whose workspace, secrets and master key are planted.
type aviary struct {
	*bench
	shop   *shop
	leaks  map[string]string // text that must not be shown, and what it is
	people map[string]string // the same, in what is logged
}

func newAviary(t *testing.T) *aviary {
	a := &aviary{bench: newBench(t, intercomtest.Options{Conversations: 1})}
	a.shop = openShop(t, intercomtest.Options{Conversations: 40, Contacts: 20, Companies: 4, Tickets: 4, Oddities: -1, Token: canaryToken, RateLimit: 60_000})
	a.bench.url = a.shop.url
	write := func(name string, content []byte) string {
		file := filepath.Join(a.dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	a.token = write("token", []byte(canaryToken))
	write("hook", []byte(canaryHook))
	write("key", canaryMasterKey)
	a.leaks = map[string]string{
		canaryToken: "the access token", canaryHook: "the webhook secret", string(canaryMasterKey): "the master key",
		base64.StdEncoding.EncodeToString(canaryMasterKey): "the master key", hex.EncodeToString(canaryMasterKey): "the master key",
		base64.StdEncoding.EncodeToString([]byte(canaryToken)): "the access token, encoded", hex.EncodeToString([]byte(canaryToken)): "the access token, encoded",
	}
	a.people = map[string]string{canaryMail: "an e-mail address", canaryName: "a name", canaryMessage: "a message"}
	return a
}

// try runs a command with everything logged, and searches what it says.
func (a *aviary) try(code int, words ...string) string {
	a.tb.Helper()
	return a.tryWith(code, words)
}

// tryWith is try with flags behind those of the bench, so that they win.
func (a *aviary) tryWith(code int, words []string, last ...string) string {
	a.tb.Helper()
	args := append(a.args(words...), "--log-level", "debug", "--master-key-file", filepath.Join(a.dir, "key"))
	var out, errs bytes.Buffer
	got := run(context.Background(), context.Background(), append(args, last...), strings.NewReader(""), &out, &errs)
	stdout, stderr := out.String(), errs.String()
	if got != code {
		a.tb.Errorf("%v: code %d, want %d\n%s", words, got, code, stderr)
	}
	for text, what := range a.leaks {
		if strings.Contains(stdout+stderr, text) {
			a.tb.Errorf("%v shows %s", words, what)
		}
	}
	for text, what := range a.people {
		if strings.Contains(stderr, text) {
			a.tb.Errorf("%v logs %s:\n%s", words, what, around(stderr, text))
		}
		if strings.Contains(stdout, text) && words[0]+" "+words[1] != "rejects show" {
			a.tb.Errorf("%v prints %s:\n%s", words, what, around(stdout, text))
		}
	}
	return stdout
}

func around(s, text string) string {
	i := strings.Index(s, text)
	return s[max(0, i-200):min(len(s), i+200)]
}

func TestCanariesAreNowhere(t *testing.T) {
	t.Parallel()
	a := newAviary(t)
	watched := a.watchSessions(t)
	connect := []string{"connect", "--region", "us", "--token-file", a.token, "--webhook-secret-file", filepath.Join(a.dir, "hook"), "--no-backfill"}
	set := func(c intercomtest.Change) string {
		t.Helper()
		ids, err := a.shop.Apply(c)
		if err != nil {
			t.Fatal(err)
		}
		return ids[0]
	}
	fields := func(v map[string]any) map[string]json.RawMessage {
		out := map[string]json.RawMessage{}
		for name, value := range v {
			out[name], _ = json.Marshal(value) // strings
		}
		return out
	}
	person := set(intercomtest.Change{Op: "create", Kind: intercomtest.Contacts, Fields: fields(map[string]any{"email": canaryMail, "name": canaryName})})
	talk := set(intercomtest.Change{Op: "create", Kind: intercomtest.Conversations, Contact: person, Text: canaryMessage})

	// Refused, by Intercom and by us.
	faults := func(spec string) {
		t.Helper()
		list, err := intercomtest.ParseFaults(spec)
		if err == nil {
			err = a.shop.SetFaults(list...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	faults("token-revoked")
	a.try(exitIncomplete, connect...)
	faults("scope-lost:scope=contacts")
	a.try(exitIncomplete, connect...)
	faults("")
	a.tryWith(exitUsage, connect, "--colour")
	a.tryWith(exitUsage, connect, "--intercom-url", "https://"+canaryToken+"@host")
	a.tryWith(exitUsage, connect, "--intercom-url", a.url+"?token="+canaryToken)
	a.tryWith(exitUsage, connect, "--intercom-url", "https://["+canaryToken)
	a.tryWith(exitUsage, connect, "--database-url", "mysql://u:"+canaryToken+"@host/db")
	a.tryWith(exitUsage, connect, "--database-url", "postgres://u:"+canaryToken+"%zz@host/db")
	a.tryWith(exitUsage, connect, "--database-url", "postgres://u:"+canaryToken+"@host:nonsense/db")
	a.tryWith(exitUsage, connect, "--database-url", "postgres://u:"+canaryToken+"@host/db?sslmode=sometimes")
	a.tryWith(exitDatabase, connect, "--database-url", "postgres://u:"+canaryToken+"@127.0.0.1:1/db")

	// Loaded, under a storm of faults, with one object malformed and one that the database refuses with the row's values
	// in its message.
	a.try(exitDone, connect...)
	a.try(exitDone, "plan")
	a.exec(`ALTER TABLE public.end_users ADD CONSTRAINT not_her CHECK (name <> '` + canaryName + `')`)
	a.shop.damage(damage{"conversation", talk, "conversation_parts", json.RawMessage(`"odd"`)})
	faults("429:rate=0.05,headers=none;5xx:rate=0.05;truncated:rate=0.05;html:rate=0.03")
	a.try(exitDiffers, "backfill", "--json")
	faults("")
	a.try(exitDone, "rejects", "ls")
	a.try(exitDone, "rejects", "ls", "--json")
	shown := ""
	for _, number := range []string{"1", "2"} {
		shown += a.try(exitDone, "rejects", "show", number)
		shown += a.try(exitDone, "rejects", "show", number, "--json")
	}
	if !strings.Contains(shown, canaryMail) || !strings.Contains(shown, canaryMessage) {
		t.Errorf("rejects show does not show the objects: the test plants nothing\n%s", shown)
	}
	a.try(exitDiffers, "rejects", "retry")
	a.shop.damage()
	a.exec(`ALTER TABLE public.end_users DROP CONSTRAINT not_her`)
	a.try(exitDone, "rejects", "retry")
	if n := scalar[int](a.bench, `SELECT count(*) FROM public.end_users WHERE email = $1`, canaryMail); n != 1 {
		t.Errorf("%d rows for the planted person", n)
	}

	// A whole Halo table refuses everything, and the database goes away.
	a.exec(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no % today', NEW.id; END $$`)
	a.exec(`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON public.transcripts FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
	if _, err := a.shop.Apply(intercomtest.Change{Op: "reply", Kind: intercomtest.Conversations, ID: talk, By: "user", Text: canaryMessage}); err != nil {
		t.Fatal(err)
	}
	a.try(exitDiffers, "sync", "--log-format", "json")
	a.exec(`DROP TRIGGER refuse ON public.transcripts`)
	a.try(exitDone, "rejects", "retry", "--json")
	faults("token-revoked:from=3")
	a.try(exitIncomplete, "backfill", "--restart")
	faults("")

	// Looked at, changed, left.
	for _, words := range [][]string{
		{"status"}, {"status", "--json"}, {"runs", "ls"}, {"runs", "ls", "--json"}, {"runs", "show"}, {"runs", "show", "--json"},
		{"sync"}, {"migrate", "status"}, {"migrate", "up"},
	} {
		a.try(exitDone, words...)
	}
	a.tryWith(exitUsage, []string{"plan"}, "--master-key-file", a.token)
	a.compare(t)
	a.searchTables(t)
	a.try(exitDone, "disconnect")
	a.searchTables(t)
	watched()
}

// compare finds the planted person and message changed, and searches reports and what is kept of them.
func (a *aviary) compare(t *testing.T) {
	t.Helper()
	a.exec(`UPDATE public.end_users SET name = name || ' the second', custom_fields = jsonb_build_object('` + canaryName + `', 1) WHERE email = '` + canaryMail + `'`)
	a.exec(`UPDATE public.transcripts SET messages = '[]' WHERE messages::text LIKE '%` + canaryMessage + `%'`)
	report := filepath.Join(t.TempDir(), "report")
	for _, format := range []string{"text", "json", "html"} {
		a.try(exitDiffers, "diff", "intercom", "postgres", "--report", report, "--format", format, "--emit-repair", filepath.Join(a.dir, "repair"))
	}
	files, err := filepath.Glob(filepath.Join(report, "*"))
	if err != nil || len(files) < 6 {
		t.Fatalf("the report has %d files: %v", len(files), err)
	}
	for _, file := range append(files, filepath.Join(a.dir, "repair")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for person, what := range a.people {
			if strings.Contains(string(text), person) {
				t.Errorf("%s shows %s: %s", filepath.Base(file), what, around(string(text), person))
			}
		}
	}
	for person, what := range a.people {
		if n := scalar[int](a.bench, `SELECT (SELECT count(*) FROM ingest.diff_runs WHERE report::text LIKE $1) + (SELECT count(*) FROM ingest.diff_findings f WHERE f::text LIKE $1)`, "%"+person+"%"); n > 0 {
			t.Errorf("%d rows of what diffs have found hold %s", n, what)
		}
	}
	newest := scalar[string](a.bench, `SELECT id::text FROM ingest.diff_runs ORDER BY started_at DESC LIMIT 1`)
	a.try(exitDone, "sync", "--from-diff", newest)
	a.try(exitDone, "diff", "intercom", "postgres")
}

// searchTables looks for secrets in every row of every table, as text and as the bytes of a bytea.
func (a *aviary) searchTables(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, a.dbURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tables, err := textRows(ctx, conn, `SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'ingest')`)
	if err != nil || len(tables) < 10 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	for _, table := range tables {
		rows, err := textRows(ctx, conn, `SELECT t::text FROM `+table+` t`)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			for text, what := range a.leaks {
				if strings.Contains(row, text) || strings.Contains(row, hex.EncodeToString([]byte(text))) {
					t.Errorf("%s holds %s: %.300s", table, what, row)
				}
			}
		}
	}
}

// watchSessions looks at what other users of the server can see of the program's sessions, until the returned
// function is called.
func (a *aviary) watchSessions(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	seen := map[string]bool{}
	wg.Go(func() {
		conn, err := pgx.Connect(ctx, a.dbURL)
		if err != nil {
			t.Errorf("watch sessions: %v", err)
			return
		}
		defer conn.Close(context.Background())
		for ctx.Err() == nil {
			lines, err := textRows(ctx, conn, `SELECT application_name, query FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'haloingest%'`)
			if err != nil {
				break // the test is over
			}
			for _, line := range lines {
				seen[line] = true
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		wg.Wait()
		if len(seen) == 0 {
			t.Error("no session of the program was seen")
		}
		for line := range seen {
			for _, texts := range []map[string]string{a.leaks, a.people} {
				for text, what := range texts {
					if strings.Contains(line, text) {
						t.Errorf("a session shows %s: %.300s", what, line)
					}
				}
			}
		}
	}
}

func (a *aviary) exec(sql string) {
	a.tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, a.dbURL)
	if err != nil {
		a.tb.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		a.tb.Fatal(fmt.Errorf("%s: %w", sql, err))
	}
}
