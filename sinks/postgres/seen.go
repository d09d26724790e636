package postgres

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Shares of a kind's objects that may be missing from a full walk before the walk itself is doubted.
const (
	UsualUnseenShare = 0.10
	minUnseen        = 10 // so many are always believed: small workspaces lose large shares
)

// UnseenError says that a walk missed so many objects that it is the walk that must be wrong. Nothing was changed.
type UnseenError struct {
	Kind         record.Kind
	Count, Total int64   // unseen, and live objects of the kind
	Share        float64 // the share that is believed
}

func (e *UnseenError) Error() string {
	return fmt.Sprintf("the walk did not see %d of %d %s, more than the %.0f %% that are believed: nothing is taken for deleted",
		e.Count, e.Total, e.Kind.Stream(), e.Share*100)
}

// markSeen notes, in the transaction of a batch, what a full walk has come across: every object of the batch with an id, the rejected ones too. It does nothing
// unless the run tracks.
func (r *Run) markSeen(ctx context.Context, tx pgx.Tx, kind record.Kind, ids []string) error {
	if !r.Spec.Track || len(ids) == 0 {
		return nil
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"ingest", "seen"}, []string{"org_id", "run_id", "kind", "source_id"},
		pgx.CopyFromSlice(len(ids), func(i int) ([]any, error) {
			return []any{r.lease.org, r.ID, string(kind), record.CleanText(ids[i])}, nil
		}))
	return err
}

// Unseen are the objects that a finished walk did not come across, and those that it met before it was known that they are to be loaded again.
type Unseen struct {
	Count, Total int64 // of IDs, and live objects of the kind
	IDs          iter.Seq2[string, error]
}

// Unseen finds the live objects of kind that this run, a finished full walk (RunSpec.Track), did not see although they were there
// before it began. They are candidates only: each is to be confirmed by a read at the source. If there are more than share of all (0: UsualUnseenShare) and
// more than 10, the answer is an *UnseenError. IDs reads them page by page, in no more memory than a page takes; it stops after
// yielding an error.
//
// Of contacts and companies those are among them which are to be loaded again (see DB.Reloads): what shared a row with them has left it later in
// the walk. They count for no share. Contacts and companies go by ingest.id_map, where one row may stand for several of them; conversations and tickets by their
// tables, whose created_at is Intercom's.
func (r *Run) Unseen(ctx context.Context, kind record.Kind, share float64) (Unseen, error) {
	if !r.Spec.Track {
		return Unseen{}, fmt.Errorf("find unseen %s: run %s did not keep what it saw", kind.Stream(), r.ID)
	}
	if share <= 0 {
		share = UsualUnseenShare
	}
	all := `SELECT source_id, created_at FROM public.` + kind.Table() + ` WHERE org_id = $1 AND source_id IS NOT NULL AND deleted_at IS NULL AND $3::text <> ''`
	people := kind == record.KindContact || kind == record.KindCompany
	if people {
		all = `SELECT source_id, created_at FROM ingest.id_map WHERE org_id = $1 AND kind = $3 AND deleted_at IS NULL`
	}
	var u Unseen
	err := r.guarded(ctx, "find unseen "+kind.Stream(), func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM ingest.unseen WHERE org_id = $1 AND run_id = $2 AND kind = $3`, r.lease.org, r.ID, string(kind))
		if err != nil {
			return err
		}
		// Without figures of its own the planner takes ingest.seen for nearly empty, and loops.
		if _, err := tx.Exec(ctx, `SET LOCAL enable_nestloop = off`); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `INSERT INTO ingest.unseen (org_id, run_id, kind, source_id)
			SELECT DISTINCT $1::uuid, $2::uuid, $3::text, a.source_id FROM (`+all+`) a
			WHERE a.created_at < $4 AND NOT EXISTS (
				SELECT 1 FROM ingest.seen s WHERE s.org_id = $1 AND s.run_id = $2 AND s.kind = $3 AND s.source_id = a.source_id)`,
			r.lease.org, r.ID, string(kind), r.StartedAt)
		if err != nil {
			return err
		}
		u.Count = tag.RowsAffected()
		err = tx.QueryRow(ctx, `SELECT count(*) FROM (`+all+`) a`+` WHERE $2::uuid IS NOT NULL`, r.lease.org, r.ID, string(kind)).Scan(&u.Total)
		if err != nil {
			return err
		}
		if u.Count > minUnseen && float64(u.Count) > share*float64(u.Total) {
			return &UnseenError{Kind: kind, Count: u.Count, Total: u.Total, Share: share}
		}
		if !people {
			return nil
		}
		tag, err = tx.Exec(ctx, `INSERT INTO ingest.unseen (org_id, run_id, kind, source_id) SELECT $1, $3, $2, m.source_id FROM ingest.id_map m
			WHERE `+toReload+` ON CONFLICT DO NOTHING`, r.lease.org, string(kind), r.ID)
		u.Count += tag.RowsAffected()
		return err
	})
	if err != nil {
		return Unseen{}, err
	}
	u.IDs = func(yield func(string, error) bool) {
		for after := ""; ; {
			page, err := r.unseenPage(ctx, kind, after)
			if err != nil {
				yield("", err)
				return
			}
			for _, id := range page {
				if !yield(id, nil) {
					return
				}
				after = id
			}
			if len(page) < unseenPage {
				return
			}
		}
	}
	return u, nil
}

const unseenPage = 1000

// toReload are contacts or companies m of organisation $1 and kind $2 whose rows are not what they say.
const toReload = `m.org_id = $1 AND m.kind = $2 AND m.content_hash IS NULL AND m.fetched_at IS NOT NULL AND m.deleted_at IS NULL`

// Reloads lists contacts or companies that are to be loaded again, at most limit: another one has left a row that they share, or has gone, so that the row has
// values that it should not have and none of theirs that it should. Reading them makes the row anew.
func (db *DB) Reloads(ctx context.Context, org record.UUID, kind record.Kind, limit int) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT m.source_id FROM ingest.id_map m WHERE `+toReload+` ORDER BY m.source_id LIMIT $3`, org, string(kind), limit)
	if err != nil {
		return nil, wrap(ctx, err, "list %s to be loaded again", kind.Stream())
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, wrap(ctx, err, "list %s to be loaded again", kind.Stream())
}

func (r *Run) unseenPage(ctx context.Context, kind record.Kind, after string) ([]string, error) {
	rows, err := r.lease.db.pool.Query(ctx, `SELECT source_id FROM ingest.unseen
		WHERE org_id = $1 AND run_id = $2 AND kind = $3 AND source_id > $4 ORDER BY source_id LIMIT $5`,
		r.lease.org, r.ID, string(kind), after, unseenPage)
	if err == nil {
		var ids []string
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			return ids, nil
		}
	}
	return nil, wrap(ctx, err, "list unseen %s", kind.Stream())
}

// ForgetSeen drops what this run, and every run of the organisation that is over, has noted as seen.
func (r *Run) ForgetSeen(ctx context.Context) error {
	return r.guarded(ctx, "forget what the walk saw", func(tx pgx.Tx) error {
		for _, table := range []string{"seen", "unseen"} {
			_, err := tx.Exec(ctx, `DELETE FROM ingest.`+table+` s WHERE org_id = $1 AND (run_id = $2 OR NOT EXISTS (
				SELECT 1 FROM ingest.runs r WHERE r.org_id = s.org_id AND r.id = s.run_id AND r.state IN ('running', 'failed', 'interrupted')))`,
				r.lease.org, r.ID)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
