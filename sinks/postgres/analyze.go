package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The planner takes a table that was never analysed for nearly empty, and any index that begins with org_id for as good as the
// right one: a lookup by key then reads the organisation's rows one after the other. Autovacuum finds out a minute
// later; a first backfill has loaded a hundred thousand rows by then. So a sink has the tables analysed itself, after its first
// twenty objects and whenever it has loaded ten times as much as the last time, as far as the server knows them to be smaller than that.
const (
	analyzeFirst  = 20
	analyzeGrowth = 10
)

// analyzed are the tables that a batch looks things up in, with the columns of its conditions: figures of the texts cost a second
// and are autovacuum's matter, which comes as if nothing had been analysed here.
var analyzed = map[string]string{
	"public.end_users":         "org_id, id, external_id",
	"public.companies":         "org_id, id, external_id",
	"public.transcripts":       "org_id, id, end_user_id",
	"public.tickets":           "org_id, id, end_user_id",
	"public.knowledge":         "org_id, id, transcript_id",
	"ingest.id_map":            "org_id, kind, source_id, row_id",
	"ingest.contact_companies": "org_id, contact_id, company_id",
	"ingest.pending_links":     "org_id, ref_kind, ref_id, table_name, row_id",
	"ingest.tombstones":        "org_id, kind, source_id",
}

// analyze brings the server's figures up to date where it is time. It only makes the next batches faster, so a failure is logged and
// forgotten: a role that does not own Halo's tables may not analyse them.
func (s *Sink) analyze(ctx context.Context, items int) {
	s.loaded += int64(items)
	if s.loaded < max(analyzeFirst, s.analyzeAt) || s.session == nil {
		return
	}
	s.analyzeAt = analyzeGrowth * s.loaded
	log := s.run.lease.db.log
	rows, err := s.session.conn.Query(ctx, `SELECT t.name FROM unnest($1::text[]) AS t(name) JOIN pg_class c ON c.oid = to_regclass(t.name)
		WHERE c.reltuples < $2 ORDER BY 1`, slices.Collect(maps.Keys(analyzed)), s.loaded)
	if err == nil {
		var outdated []string
		if outdated, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil && len(outdated) > 0 {
			for i, name := range outdated {
				outdated[i] = name + " (" + analyzed[name] + ")"
			}
			_, err = s.session.conn.Exec(ctx, "ANALYZE "+strings.Join(outdated, ", "))
		}
	}
	if err != nil {
		log.DebugContext(ctx, "analyse the tables", "error", wrap(ctx, err, "analyse"))
	}
}
