package postgres

import (
	"context"
	"time"

	"haloingest/pipeline/record"
)

// Covered returns the instant from which on changes have to be read again if this run ends well: every kind of object has been
// walked from the beginning to the end by a run that began then or later, with the same id fields. Runs over parts (--only) count, this
// one included; those of a sample or a span and undone ones do not. It is zero where a kind is missing.
func (r *Run) Covered(ctx context.Context) (time.Time, error) {
	var streams []string
	for _, kind := range record.Kinds {
		streams = append(streams, kind.Stream())
	}
	var from *time.Time
	err := r.lease.db.pool.QueryRow(ctx, `SELECT CASE WHEN count(walked) = count(*) THEN min(walked) END FROM (
			SELECT (SELECT max(w.started_at) FROM ingest.runs w
				WHERE w.org_id = $1 AND w.kind = 'backfill' AND (w.state = 'complete' OR w.id = $2) AND w.undone_at IS NULL
					AND NOT w.spec ? 'since' AND NOT w.spec ? 'sample' AND (NOT w.spec ? 'only' OR w.spec->'only' ? k.stream)
					AND coalesce(w.spec->'params'->>'user_id_field', '') = $4 AND coalesce(w.spec->'params'->>'company_id_field', '') = $5) AS walked
			FROM unnest($3::text[]) AS k(stream)) x`,
		r.lease.org, r.ID, streams, r.Spec.Params["user_id_field"], r.Spec.Params["company_id_field"]).Scan(&from)
	if err != nil || from == nil {
		return time.Time{}, wrap(ctx, err, "find what earlier runs have read")
	}
	return from.UTC(), nil
}
