package work

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
)

// BenchmarkProcesses backfills 64 workspaces with 1, 2 and 4 processes of two backfills each, as serve has them. Each workspace answers after
// 150 ms, and a run has 4 requests under way: so Intercom is the limit, as it is in life, and not the machine. Afterwards the rows are held
// against what the simulated workspaces know they hold.
func BenchmarkProcesses(b *testing.B) {
	for range b.N {
		var alone time.Duration
		for _, processes := range []int{1, 2, 4} {
			took := backfillAll(b, processes)
			if processes == 1 {
				alone = took
			}
			b.ReportMetric(took.Seconds(), fmt.Sprintf("s/%d-processes", processes))
			b.ReportMetric(alone.Seconds()/took.Seconds(), fmt.Sprintf("times/%d-processes", processes))
			b.Logf("%d processes: %.1f s, %.2f times as fast as one", processes, took.Seconds(), alone.Seconds()/took.Seconds())
		}
	}
}

func backfillAll(b *testing.B, processes int) time.Duration {
	p := newPlace(b)
	for n := range 64 {
		p.connect(n+1, intercomtest.Options{
			Seed: uint64(n + 1), Conversations: 40, Contacts: 25, Companies: 4, Tickets: 6, Latency: 150 * time.Millisecond,
		})
	}
	for range processes {
		p.process(child{Backfills: 2})
	}
	for deadline := time.Now().Add(time.Minute); scalar[int](p, `SELECT count(*) FROM ingest.processes`) < processes; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("not all processes have begun")
		}
	}
	began := time.Now()
	for n := range 64 {
		p.must(p.queue.Backfill(context.Background(), nil, orgOf(n+1), BackfillOptions{}))
	}
	for deadline := time.Now().Add(10 * time.Minute); scalar[int](p, `SELECT count(*) FROM ingest.connections WHERE synced_to IS NULL`) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("not all backfills are done")
		}
	}
	took := time.Since(began)
	if n := scalar[int](p, `SELECT count(*) FROM ingest.runs`); n != 64 {
		b.Errorf("%d runs for 64 workspaces", n)
	}
	for org := range p.sims {
		p.exact(org)
	}
	return took
}

// exact requires that the objects of the workspace are in the tables, each once, and nothing else.
func (p *place) exact(org record.UUID) {
	p.tb.Helper()
	ledger := p.sims[org].Ledger()
	want := make(map[string][]string)
	for c := range ledger.Conversations() {
		want["transcripts"] = append(want["transcripts"], c.ID)
	}
	for t := range ledger.Tickets() {
		want["tickets"] = append(want["tickets"], t.ID)
	}
	for c := range ledger.Companies() {
		want["company"] = append(want["company"], c.ID)
	}
	for c := range ledger.Contacts() {
		want["contact"] = append(want["contact"], c.ID)
	}
	for what, query := range map[string]string{
		"transcripts": `SELECT source_id FROM public.transcripts WHERE org_id = $1`,
		"tickets":     `SELECT source_id FROM public.tickets WHERE org_id = $1`,
		"company":     `SELECT m.source_id FROM ingest.id_map m JOIN public.companies r ON r.id = m.row_id AND r.org_id = m.org_id WHERE m.org_id = $1 AND m.kind = 'company'`,
		"contact":     `SELECT m.source_id FROM ingest.id_map m JOIN public.end_users r ON r.id = m.row_id AND r.org_id = m.org_id WHERE m.org_id = $1 AND m.kind = 'contact' AND m.deleted_at IS NULL AND m.reason <> 'merged'`,
	} {
		rows, err := p.db.Pool().Query(context.Background(), query, org)
		p.must(err)
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		p.must(err)
		slices.Sort(got)
		slices.Sort(want[what])
		if !slices.Equal(got, want[what]) {
			p.tb.Errorf("%s of %s: %d rows for %d objects, or not the same ones", what, org, len(got), len(want[what]))
		}
	}
}
