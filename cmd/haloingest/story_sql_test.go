package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

// query gives rows as text, columns divided by " | ".
func (s *story) query(ts *testscript.TestScript, sql string) []string {
	ctx, cancel := shortly()
	defer cancel()
	conn, err := pgx.Connect(ctx, ts.Getenv("HALOINGEST_DATABASE_URL"))
	ts.Check(err)
	defer conn.Close(ctx)
	lines, err := textRows(ctx, conn, expandNames(sql, ts.Getenv))
	if err != nil {
		ts.Fatalf("%s: %v", sql, err)
	}
	return lines
}

// expandNames replaces $NAME and ${NAME}, but leaves SQL's own $1 alone.
func expandNames(sql string, value func(string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(sql, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n := 0
		for n < len(rest) && (rest[n] >= 'A' && rest[n] <= 'Z' || rest[n] == '_' || n > 0 && rest[n] >= '0' && rest[n] <= '9') {
			n++
		}
		if n == 0 {
			b.WriteByte('$')
		} else {
			b.WriteString(value(rest[:n]))
		}
		sql = rest[n:]
	}
}

// textRows reads a query in PostgreSQL's text format.
func textRows(ctx context.Context, conn *pgx.Conn, sql string) ([]string, error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, result := range results {
		for _, row := range result.Rows {
			cells := make([]string, len(row))
			for i, cell := range row {
				cells[i] = string(cell)
				if cell == nil {
					cells[i] = "NULL"
				}
			}
			lines = append(lines, strings.Join(cells, " | "))
		}
	}
	return lines, nil
}

func cmdSQL(ts *testscript.TestScript, s *story, args []string) {
	for _, line := range s.query(ts, args[0]) {
		fmt.Fprintln(ts.Stdout(), line)
	}
}

func (s *story) one(ts *testscript.TestScript, sql string) string {
	lines := s.query(ts, sql)
	if len(lines) != 1 {
		ts.Fatalf("%s: %d rows, want 1: %q", sql, len(lines), lines)
	}
	return lines[0]
}

func cmdIs(ts *testscript.TestScript, s *story, args []string) {
	if got, want := s.one(ts, args[0]), expandNames(args[1], ts.Getenv); got != want {
		ts.Fatalf("%s\ngives %q, want %q", args[0], got, want)
	}
}

func cmdLet(ts *testscript.TestScript, s *story, args []string) {
	ts.Setenv(args[0], s.one(ts, args[1]))
}

func cmdUntil(ts *testscript.TestScript, s *story, args []string) {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if s.one(ts, args[0]) == "t" {
			return
		}
		for name, p := range s.background {
			select {
			case <-p.done:
				ts.Fatalf("%s has ended before %s: code %d\n%s%s", name, args[0], p.cmd.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String())
			default:
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not come true", args[0])
		}
	}
}

// dump reads all rows of the tables of Halo and of this program, or of some of them. It does not touch
// what is only bookkeeping of the lease.
func (s *story) dump(ts *testscript.TestScript, tables []string) map[string][]string {
	ctx, cancel := shortly()
	defer cancel()
	conn, err := pgx.Connect(ctx, ts.Getenv("HALOINGEST_DATABASE_URL"))
	ts.Check(err)
	defer conn.Close(ctx)
	if len(tables) == 0 {
		tables, err = textRows(ctx, conn, `SELECT schemaname || '.' || tablename FROM pg_tables
			WHERE schemaname IN ('public', 'ingest') ORDER BY 1`)
		ts.Check(err)
	}
	out := map[string][]string{}
	for _, table := range tables {
		// xmin tells a row that was written again with the same content.
		out[table], err = textRows(ctx, conn, `SELECT xmin::text || ' ' || to_jsonb(t)::text FROM `+table+` t ORDER BY to_jsonb(t)::text`)
		ts.Check(err)
	}
	return out
}

func cmdRemember(ts *testscript.TestScript, s *story, args []string) {
	s.memory[args[0]] = s.dump(ts, args[1:])
}

func cmdUnchanged(ts *testscript.TestScript, s *story, args []string) {
	before, ok := s.memory[args[0]]
	if !ok {
		ts.Fatalf("nothing is remembered as %q", args[0])
	}
	var tables []string
	for table := range before {
		tables = append(tables, table)
	}
	after := s.dump(ts, tables)
	for table := range before {
		if d := cmp.Diff(before[table], after[table]); d != "" {
			ts.Fatalf("%s was written (-before +after):\n%.3000s", table, d)
		}
	}
}

func cmdNothingStored(ts *testscript.TestScript, s *story, _ []string) {
	for table, rows := range s.dump(ts, nil) {
		versions := table == "ingest.schema_versions" || table == "ingest.river_migration"
		if !versions && len(rows) > 0 {
			ts.Fatalf("%s holds %d rows: %.500s", table, len(rows), rows[0])
		}
	}
}
