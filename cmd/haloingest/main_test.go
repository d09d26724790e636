package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
)

// asProgram makes the test binary the program itself, so that tests can kill a real process.
const asProgram = "HALOINGEST_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if file := os.Getenv(profileTo); file != "" {
			os.Exit(profiled(file))
		}
		main()
		return
	}
	waitMoreThanWork()
	os.Exit(m.Run())
}

// profileTo names a file for a CPU profile of the program run as a child of a benchmark.
const profileTo = "HALOINGEST_TEST_CPU_PROFILE"

func profiled(file string) int {
	f, err := os.Create(file)
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	ctx := context.Background()
	code := run(ctx, ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// bench is a simulated workspace, a database and an organisation to try the program on.
type bench struct {
	tb     testing.TB
	sim    *intercomtest.Server
	url    string // of the API; the simulator's, unless a test puts something in between
	dbURL  string
	dir    string // data directory, with the master key
	token  string // file
	stderr bytes.Buffer
}

const testOrg = "aaaaaaaa-0000-4000-8000-000000000001"

func newBench(tb testing.TB, o intercomtest.Options) *bench {
	tb.Helper()
	b := &bench{tb: tb, sim: intercomtest.Start(tb, o), dbURL: pgtest.New(tb), dir: tb.TempDir()}
	b.url = b.sim.URL
	b.token = filepath.Join(b.dir, "token")
	if err := os.WriteFile(b.token, []byte(b.sim.Token+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return b
}

// args completes a command line: organisation, database, data directory, and the API where it is used.
func (b *bench) args(words ...string) []string {
	args := append(words, "--database-url", b.dbURL, "--data-dir", b.dir)
	switch words[0] {
	case "migrate":
		return args
	case "connect", "backfill", "sync", "plan", "diff":
		args = append(args, "--intercom-url", b.url)
	case "rejects":
		if words[1] == "retry" {
			args = append(args, "--intercom-url", b.url)
		}
	}
	return append(args, "--org", testOrg)
}

// run runs a command in this process and returns its exit code and what it printed.
func (b *bench) run(words ...string) (code int, stdout, stderr string) {
	b.tb.Helper()
	var out, errs bytes.Buffer
	ctx := context.Background()
	code = run(ctx, ctx, b.args(words...), bytes.NewReader(nil), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command that has to end with one of the codes, 0 if none are given.
func (b *bench) must(words []string, codes ...int) string {
	b.tb.Helper()
	code, stdout, stderr := b.run(words...)
	if len(codes) == 0 {
		codes = []int{exitDone}
	}
	if !slices.Contains(codes, code) {
		b.tb.Fatalf("haloingest %v: code %d\n%s%s", words, code, stdout, stderr)
	}
	return stdout
}

func (b *bench) connect(more ...string) {
	b.tb.Helper()
	b.must(append([]string{"connect", "--region", "us", "--token-file", b.token, "--no-backfill"}, more...))
}

// process prepares the program as a process of its own.
func (b *bench) process(words ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		b.tb.Fatal(err)
	}
	cmd := exec.Command(self, b.args(words...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	b.stderr.Reset()
	cmd.Stderr = &b.stderr
	return cmd
}

// rows are the tables' rows as JSON lines, ordered by id, without what may differ between two runs
// (contract, "Tables").
func (b *bench) rows() map[string][]string {
	b.tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, b.dbURL)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer conn.Close(ctx)
	dump := map[string][]string{}
	for table, query := range map[string]string{
		"end_users": "public.end_users", "companies": "public.companies", "transcripts": "public.transcripts",
		"tickets": "public.tickets", "knowledge": "public.knowledge",
		"id_map":        "(SELECT org_id, kind, source_id AS id, row_id, reason, deleted_at IS NOT NULL AS deleted FROM ingest.id_map)",
		"pending_links": "(SELECT ref_kind || ref_id || row_id AS id, table_name, knowledge FROM ingest.pending_links)",
		"rejects":       "(SELECT kind || source_id || stage || field AS id, payload FROM ingest.rejects WHERE resolved_at IS NULL)",
	} {
		rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT (to_jsonb(t) - 'run_id' - 'created_at' - 'updated_at' - 'embedding')::text
			FROM %s t ORDER BY t.id`, query))
		if err != nil {
			b.tb.Fatal(err)
		}
		if dump[table], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			b.tb.Fatalf("dump %s: %v", table, err)
		}
	}
	return dump
}

// scalar reads one value by SQL.
func scalar[T any](b *bench, query string, args ...any) T {
	b.tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, b.dbURL)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer conn.Close(ctx)
	var v T
	if err := conn.QueryRow(ctx, query, args...).Scan(&v); err != nil {
		b.tb.Fatalf("%s: %v", query, err)
	}
	return v
}
