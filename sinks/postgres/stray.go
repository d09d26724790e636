package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// BuryStrays marks rows of a table of objects as deleted that name an object of Intercom (source_id) and are not the row which that
// object is bound to: somebody else has made them. The caller has read the objects that they name and loaded what there was. Rows that
// an object is bound to, and rows that name none, are left alone; so are rows that are marked already. It returns how many were marked.
// ErrFenced if the lease is lost.
func (r *Run) BuryStrays(ctx context.Context, kind record.Kind, rows []record.UUID, at time.Time) (int64, error) {
	var n int64
	what := fmt.Sprintf("mark rows of %s that no object is bound to", kind.Table())
	err := r.guarded(ctx, what, func(tx pgx.Tx) error {
		strays, err := r.strays(ctx, tx, kind, rows)
		if err != nil {
			return err
		}
		x := imagesOf(kind.Table())
		from := "unnest($3::uuid[]) AS k(id)"
		where := "t.org_id = $1::uuid AND t.id = k.id AND t.deleted_at IS NULL"
		if _, err := tx.Exec(ctx, x.insert(from+" CROSS JOIN "+x.table+" t WHERE "+where), r.lease.org, r.ID, strays); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, "UPDATE "+x.table+" t SET deleted_at = $4::timestamptz, run_id = $2::uuid FROM "+from+" WHERE "+where,
			r.lease.org, r.ID, strays, at)
		n = tag.RowsAffected()
		return err
	})
	return n, wrap(ctx, err, "%s", what)
}

// strays are those of the rows that are nobody's.
func (r *Run) strays(ctx context.Context, tx pgx.Tx, kind record.Kind, ids []record.UUID) ([]record.UUID, error) {
	bound := "false"
	if kind == record.KindContact || kind == record.KindCompany {
		bound = "EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = $1 AND m.kind = $3 AND m.row_id = t.id)"
	}
	rows, err := tx.Query(ctx, `SELECT t.id, t.source_id, `+bound+` FROM unnest($2::uuid[]) AS k(id) JOIN public.`+kind.Table()+` t ON t.org_id = $1 AND t.id = k.id
		WHERE t.source_id IS NOT NULL AND $3::text IS NOT NULL FOR UPDATE OF t`, r.lease.org, ids, string(kind))
	if err != nil {
		return nil, err
	}
	var list []record.UUID
	var id [16]byte
	var source string
	var taken bool
	_, err = pgx.ForEachRow(rows, []any{&id, &source, &taken}, func() error {
		own := bound == "false" && record.RowID(r.lease.org, kind, source) == record.UUID(id)
		if !taken && !own {
			list = append(list, record.UUID(id))
		}
		return nil
	})
	return list, err
}

// DropStrayKnowledge deletes knowledge that its conversations do not have, keeping it as it was for an undo. The caller has read these
// conversations and loaded what there was. Of a conversation that is known to be gone (ingest.tombstones) and has no row that shows it all goes
// that bears this program's keys, and so do those of the given rows that name it. Of one that this run has loaded those of the given rows
// go that the run did not write with it. It returns how many rows went. ErrFenced if the lease is lost.
func (r *Run) DropStrayKnowledge(ctx context.Context, conversations []string, rows []record.UUID) (int64, error) {
	var n int64
	const what = "delete knowledge that its conversation does not have"
	transcripts := make([]record.UUID, len(conversations))
	for i, id := range conversations {
		transcripts[i] = record.RowID(r.lease.org, record.KindConversation, id)
	}
	err := r.guarded(ctx, what, func(tx pgx.Tx) error {
		// What is gone or loaded now must still be so when this is committed; see loader.lock.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", linkLock(r.lease.org)); err != nil {
			return err
		}
		x := images.knowledge
		using := `unnest($3::text[], $4::uuid[]) AS k(source, transcript) LEFT JOIN public.transcripts v ON v.org_id = $1::uuid AND v.id = k.transcript
			AND v.deleted_at IS NULL`
		where := `t.source_id = k.source AND t.deleted_at IS NULL AND CASE
			WHEN v.id IS NULL THEN EXISTS (SELECT FROM ingest.tombstones g WHERE g.org_id = $1::uuid AND g.kind = 'conversation' AND g.source_id = k.source)
				AND (t.id = ANY ($5::uuid[]) OR starts_with(t.key, 'intercom:') OR starts_with(t.key, 'distilled:intercom:'))
			ELSE v.run_id = $2::uuid AND t.run_id IS DISTINCT FROM $2::uuid AND t.id = ANY ($5::uuid[]) END`
		return tx.QueryRow(ctx, x.removing(using, where, "count(*)"), r.lease.org, r.ID, conversations, transcripts, rows).Scan(&n)
	})
	return n, err
}
