package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// UnsavedObjects lists conversations or tickets of which a file could not be saved though trying again may help: at most limit of
// them, any if there are more, and how many there are. Those that are deleted are left out, since Intercom gives them no more.
func (db *DB) UnsavedObjects(ctx context.Context, org record.UUID, kind record.Kind, limit int) (ids []string, total int64, err error) {
	rows, err := db.pool.Query(ctx, `WITH open AS (SELECT DISTINCT a.source_id FROM ingest.attachments a
			WHERE a.org_id = $1 AND a.kind = $2 AND a.path IS NULL AND a.retry AND NOT EXISTS (SELECT FROM public.`+kind.Table()+` t
				WHERE t.org_id = a.org_id AND t.source_id = a.source_id AND t.deleted_at IS NOT NULL))
		SELECT source_id, (SELECT count(*) FROM open) FROM open ORDER BY random() LIMIT $3`, org, string(kind), limit)
	if err != nil {
		return nil, 0, wrap(ctx, err, "list %s whose files are not saved", kind.Stream())
	}
	var id string
	_, err = pgx.ForEachRow(rows, []any{&id, &total}, func() error {
		ids = append(ids, id)
		return nil
	})
	return ids, total, wrap(ctx, err, "list %s whose files are not saved", kind.Stream())
}
