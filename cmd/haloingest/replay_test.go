package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
)

// replayed are the tables that a replay has to make equal, without the columns that may differ between two runs (contract, "Tables") and those that say
// when this database first heard of something.
var replayed = map[string]string{
	"end_users": "public.end_users", "companies": "public.companies", "transcripts": "public.transcripts", "tickets": "public.tickets",
	"knowledge": "public.knowledge", "id_map": "ingest.id_map", "pending_links": "ingest.pending_links", "tombstones": "ingest.tombstones",
	"contact_companies": "ingest.contact_companies",
	"rejects":           "(SELECT org_id, cause, stream, stage, kind, source_id, field, reason, payload, resolved_at IS NULL AS open FROM ingest.rejects)",
}

// differences compares two databases by plain SQL, EXCEPT both ways over a link between them, and returns what is in one only.
func differences(t *testing.T, left, right string) []string {
	t.Helper()
	ctx := context.Background()
	rows := func(url string) map[string][]string {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		all := map[string][]string{}
		for name, from := range replayed {
			keep := "to_jsonb(t) - 'run_id' - 'embedding'"
			if strings.HasPrefix(from, "ingest") { // when this database first heard of it
				keep += " - 'created_at'"
			}
			if name == "knowledge" { // its rows are made when it is loaded
				keep += " - 'created_at' - 'updated_at'"
			}
			list, err := conn.Query(ctx, fmt.Sprintf("SELECT (%s)::text FROM %s t", keep, from))
			if err != nil {
				t.Fatal(err)
			}
			if all[name], err = pgx.CollectRows(list, pgx.RowTo[string]); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	a, b := rows(left), rows(right)
	var found []string
	for name := range replayed {
		count := map[string]int{}
		for _, r := range a[name] {
			count[r]++
		}
		for _, r := range b[name] {
			count[r]--
		}
		for r, n := range count {
			if n != 0 {
				found = append(found, fmt.Sprintf("%s %+d %.600s", name, n, r))
			}
		}
	}
	slices.Sort(found)
	return found
}

// replayInto loads the bench's snapshot into a database of its own and returns its URL.
func (b *bench) replayInto(url, snapshot string, more ...string) string {
	b.tb.Helper()
	args := append([]string{"replay", "--snapshot", snapshot, "--database-url", url, "--data-dir", b.dir}, more...)
	code, stdout, stderr := b.direct(args...)
	if code != exitDone && code != exitDiffers {
		b.tb.Fatalf("%v: code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// direct runs a command line as it is.
func (b *bench) direct(args ...string) (code int, stdout, stderr string) {
	b.tb.Helper()
	var out, errs strings.Builder
	ctx := context.Background()
	code = run(ctx, ctx, args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestAReplayGivesTheRowsOfTheRunsThatItsSnapshotKept(t *testing.T) {
	for _, seed := range []uint64{7, 11, 13} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, intercomtest.Options{Seed: seed, Conversations: 700, Contacts: 200, Companies: 40, Tickets: 120, Oddities: 80})
			snapshot := t.TempDir()
			b.connect()
			b.must([]string{"backfill", "--snapshot", snapshot}, exitDone, exitDiffers)
			for range 2 {
				for _, c := range []intercomtest.Change{} {
					_ = c
				}
				b.must([]string{"sync", "--snapshot", snapshot}, exitDone, exitDiffers)
			}
			url := pgtest.New(t)
			t.Log(b.replayInto(url, snapshot))
			if found := differences(t, b.dbURL, url); len(found) > 0 {
				t.Errorf("%d differences:\n%s", len(found), strings.Join(found[:min(len(found), 20)], "\n"))
			}
			t.Log(b.replayInto(url, snapshot))
			if found := differences(t, b.dbURL, url); len(found) > 0 {
				t.Errorf("after the second: %d differences:\n%s", len(found), strings.Join(found[:min(len(found), 20)], "\n"))
			}
		})
	}
}
