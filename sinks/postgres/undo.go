package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Undoing a run takes back all that it has written, in one transaction: rows that it made go, rows that it changed or deleted are again what they
// were before it, column by column of those that this program writes (see image.go). The tool's own state goes with them (bindings, tombstones, what waits,
// rejects, how far the connection is synced), so that the next run loads again what was taken back. What stays: the run's own row, with its
// counts; files of snapshots; attachments that were saved; payloads of rejects.
//
// Several runs can be undone at once. Of each row the oldest image counts; where that was written by one of the same runs, they have made the row.
//
// A run is not undone while a later one has changed the same rows, or refers to rows that would go: the later one must be undone first, or with it. A later
// run is one that has written since the first of those to be undone began. Nor is it where rows of Halo's own refer to rows that
// would go.

// ErrNotUndoable says why a run cannot be undone. Nothing was changed.
var ErrNotUndoable = errors.New("the run cannot be undone")

// UndoRun is a run in a plan.
type UndoRun struct {
	ID        record.UUID `json:"id"`
	Kind      string      `json:"kind"`
	State     RunState    `json:"state"`
	StartedAt time.Time   `json:"started_at"`
}

// UndoTable is what is done to one table, in rows.
type UndoTable struct {
	Table   string `json:"table"`   // without its schema
	Remove  int64  `json:"remove"`  // that the runs made
	Restore int64  `json:"restore"` // that they changed or deleted
	// Lost are rows that the runs changed and that somebody else has deleted since; they stay so.
	Lost int64 `json:"lost"`
}

// UndoConflict is a later run that is in the way.
type UndoConflict struct {
	Run  UndoRun `json:"run"`
	Rows int64   `json:"rows"` // that it has changed too, or with which it refers to rows that would go
}

// UndoReference are rows of Halo's own that refer to rows that would go.
type UndoReference struct {
	Table string `json:"table"` // of the referring rows
	Rows  int64  `json:"rows"`
}

// UndoPlan says what undoing runs does. Conflicts or References mean that it is refused.
type UndoPlan struct {
	Runs       []UndoRun       `json:"runs"` // newest first
	Tables     []UndoTable     `json:"tables"`
	Conflicts  []UndoConflict  `json:"conflicts"`
	References []UndoReference `json:"references"`
	// SyncedTo is what the connection's bookmark goes back to, if Bookmark is set; zero: no complete sync.
	Bookmark bool      `json:"bookmark"`
	SyncedTo time.Time `json:"synced_to,omitzero"`
}

// Err is why the plan cannot be carried out, or nil. It is ErrNotUndoable.
func (p UndoPlan) Err() error {
	var why []string
	for _, c := range p.Conflicts {
		why = append(why, fmt.Sprintf("%s %s of %s has since changed %d of the same rows, or refers to them: undo it first, or with it",
			c.Run.Kind, c.Run.ID, c.Run.StartedAt.UTC().Format("2006-01-02 15:04:05 UTC"), c.Rows))
	}
	for _, r := range p.References {
		why = append(why, fmt.Sprintf("%d rows of %s that are Halo's own refer to rows that would go", r.Rows, r.Table))
	}
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotUndoable, strings.Join(why, "; "))
}

// PlanUndo says what undoing the runs would do, and changes nothing.
func (db *DB) PlanUndo(ctx context.Context, org record.UUID, runs []record.UUID) (UndoPlan, error) {
	var plan UndoPlan
	planned := errors.New("planned")
	err := db.retry(ctx, "plan an undo", func(ctx context.Context) error {
		return db.inTx(ctx, func(tx pgx.Tx) (err error) {
			u := undo{tx: tx, org: org, runs: runs}
			if plan, err = u.plan(ctx); err != nil {
				return err
			}
			return planned
		})
	})
	if errors.Is(err, planned) {
		return plan, nil
	}
	return plan, undoError(ctx, err)
}

// Undo undoes the runs of the lease's organisation in one transaction. tell, if not nil, is given the plan before anything is changed, and
// stops it by returning an error. A plan that cannot be carried out is an ErrNotUndoable, after tell.
func (db *DB) Undo(ctx context.Context, lease *Lease, runs []record.UUID, tell func(UndoPlan) error) (UndoPlan, error) {
	var plan UndoPlan
	var stopped error
	err := db.retry(ctx, "undo", func(ctx context.Context) error {
		return db.inTx(ctx, func(tx pgx.Tx) (err error) {
			// Batches of a holder that was taken over may still be under way; they wait here, or we for them.
			if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, linkLock(lease.org)); err != nil {
				return err
			}
			u := undo{tx: tx, org: lease.org, runs: runs}
			if plan, err = u.plan(ctx); err != nil {
				return err
			}
			if tell != nil {
				if stopped = tell(plan); stopped != nil {
					return stopped
				}
				tell = nil
			}
			if err := plan.Err(); err != nil {
				return err
			}
			if err := u.carryOut(ctx); err != nil {
				return err
			}
			// Last, because it keeps the lease from beating.
			return lease.Guard(ctx, tx)
		})
	})
	if stopped != nil {
		return plan, stopped
	}
	return plan, undoError(ctx, err)
}

func undoError(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNotUndoable), errors.Is(err, ErrNotFound):
		return err
	case SQLState(err) == "23503":
		return fmt.Errorf("%w: other tables refer to rows that would go: %w", ErrNotUndoable, wrap(ctx, err, "undo"))
	}
	return wrap(ctx, err, "undo")
}

// undo is the work of one transaction. Its temp tables:
//
//	undo_image    the oldest image of each row that the runs have changed or deleted; made: they have made the row themselves
//	undo_row      the rows that go
//	undo_later    the later runs
//	undo_conflict rows that a later run has changed, or which refer to rows that go; run_id NULL: Halo's own
type undo struct {
	tx   pgx.Tx
	org  record.UUID
	runs []record.UUID
}

// undone are the tables in the order in which rows go; they are made again in the same order.
var undone = []*imaged{images.rejects, images.pendingLinks, images.contactCompanies, images.tombstones, images.idMap,
	images.knowledge, images.tickets, images.transcripts, images.endUsers, images.companies}

// undoLinks are the columns by which rows refer to others.
var undoLinks = []struct {
	child  *imaged
	column string
	parent *imaged
}{
	{images.transcripts, "end_user_id", images.endUsers}, {images.tickets, "end_user_id", images.endUsers}, {images.knowledge, "end_user_id", images.endUsers},
	{images.idMap, "row_id", images.endUsers}, {images.idMap, "row_id", images.companies},
	{images.endUsers, "company_id", images.companies}, {images.transcripts, "company_id", images.companies},
	{images.tickets, "company_id", images.companies}, {images.knowledge, "company_id", images.companies},
	{images.tickets, "transcript_id", images.transcripts}, {images.knowledge, "transcript_id", images.transcripts},
}

func (u *undo) exec(ctx context.Context, sql string, args ...any) error {
	_, err := u.tx.Exec(ctx, sql, args...)
	return err
}

func (u *undo) plan(ctx context.Context) (UndoPlan, error) {
	plan := UndoPlan{Conflicts: []UndoConflict{}, References: []UndoReference{}}
	for _, sql := range []string{
		`SET LOCAL statement_timeout = 0`, `SET LOCAL idle_in_transaction_session_timeout = '10min'`,
		`CREATE TEMP TABLE undo_image (table_name text, row_key text, n bigint, image jsonb, messages jsonb, made boolean) ON COMMIT DROP`,
		`CREATE TEMP TABLE undo_row (table_name text, row_key text, id uuid) ON COMMIT DROP`,
		`CREATE TEMP TABLE undo_later (id uuid) ON COMMIT DROP`,
		`CREATE TEMP TABLE undo_conflict (run_id uuid, table_name text, row_key text) ON COMMIT DROP`,
	} {
		if err := u.exec(ctx, sql); err != nil {
			return plan, err
		}
	}
	var err error
	if plan.Runs, err = u.check(ctx); err != nil {
		return plan, err
	}
	if err := u.find(ctx); err != nil {
		return plan, err
	}
	if err := u.findConflicts(ctx); err != nil {
		return plan, err
	}
	for _, x := range undone {
		t := UndoTable{Table: x.name}
		// A row that is kept whole and is not there was deleted by the run.
		lost := `SELECT count(*) FROM undo_image i WHERE i.table_name = $1 AND NOT i.made AND NOT EXISTS (SELECT FROM ` + x.table + ` t WHERE t.org_id = $2 AND ` + x.key + ` = i.row_key)`
		if x.columns == nil {
			lost = `SELECT 0::bigint WHERE $1::text IS NOT NULL AND $2::uuid IS NOT NULL`
		}
		err := u.tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM undo_row WHERE table_name = $1), (SELECT count(*) FROM undo_image WHERE table_name = $1 AND NOT made), (`+lost+`)`,
			x.name, u.org).Scan(&t.Remove, &t.Restore, &t.Lost)
		if err != nil {
			return plan, err
		}
		t.Restore -= t.Lost
		plan.Tables = append(plan.Tables, t)
	}
	slices.Reverse(plan.Tables)
	if err := u.listConflicts(ctx, &plan); err != nil {
		return plan, err
	}
	var to *time.Time
	err = u.tx.QueryRow(ctx, `SELECT (image->>'synced_to')::timestamptz FROM ingest.before_images
		WHERE org_id = $1 AND run_id = ANY ($2) AND table_name = 'connections' ORDER BY n LIMIT 1`, u.org, u.runs).Scan(&to)
	if err == nil {
		plan.Bookmark, plan.SyncedTo = true, orZero(to)
	} else if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return plan, err
}

// check reads the runs and refuses what cannot be undone whatever the rows say.
func (u *undo) check(ctx context.Context) ([]UndoRun, error) {
	rows, err := u.tx.Query(ctx, `SELECT id, kind, state, started_at, images, undone_at FROM ingest.runs WHERE org_id = $1 AND id = ANY ($2)
		ORDER BY started_at DESC, id FOR UPDATE`, u.org, u.runs)
	if err != nil {
		return nil, err
	}
	var list []UndoRun
	var r UndoRun
	var kept bool
	var undoneAt *time.Time
	var refused error
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&r.ID), &r.Kind, (*string)(&r.State), &r.StartedAt, &kept, &undoneAt}, func() error {
		list = append(list, r)
		switch {
		case undoneAt != nil:
			refused = fmt.Errorf("%w: %s was undone at %s", ErrNotUndoable, r.ID, undoneAt.UTC().Format("2006-01-02 15:04:05 UTC"))
		case !kept:
			refused = fmt.Errorf("%w: what its rows were before %s is not kept any more, or never was", ErrNotUndoable, r.ID)
		case r.State == RunRunning:
			refused = fmt.Errorf("%w: %s is running", ErrNotUndoable, r.ID)
		}
		return nil
	})
	if err == nil && len(list) != len(u.runs) {
		err = fmt.Errorf("undo %d runs, of which %d are known: %w", len(u.runs), len(list), ErrNotFound)
	}
	return list, errors.Join(err, refused)
}

// find fills undo_image, undo_row and undo_later.
func (u *undo) find(ctx context.Context) error {
	err := u.exec(ctx, `INSERT INTO undo_image SELECT DISTINCT ON (table_name, row_key) table_name, row_key, n, image, messages,
			coalesce((image->>'run_id')::uuid = ANY ($2), false)
		FROM ingest.before_images WHERE org_id = $1 AND run_id = ANY ($2) AND table_name <> 'connections' ORDER BY table_name, row_key, n`, u.org, u.runs)
	if err != nil {
		return err
	}
	if err := u.exec(ctx, `ANALYZE undo_image`); err != nil {
		return err
	}
	for _, x := range undone {
		id := "NULL::uuid"
		if strings.HasPrefix(x.table, "public.") {
			id = "t.id"
		}
		err := u.exec(ctx, `INSERT INTO undo_row SELECT '`+x.name+`', `+x.key+`, `+id+` FROM `+x.table+` t
			WHERE t.org_id = $1 AND t.run_id = ANY ($2) AND NOT EXISTS (
				SELECT FROM undo_image i WHERE i.table_name = '`+x.name+`' AND i.row_key = `+x.key+` AND NOT i.made)`, u.org, u.runs)
		if err != nil {
			return err
		}
	}
	err = u.exec(ctx, `INSERT INTO undo_later SELECT r.id FROM ingest.runs r
		WHERE r.org_id = $1 AND r.id <> ALL ($2) AND r.undone_at IS NULL
			AND (SELECT min(f.started_at) FROM ingest.runs f WHERE f.org_id = $1 AND f.id = ANY ($2))
				< greatest(r.started_at, (SELECT max(c.updated_at) FROM ingest.checkpoints c WHERE c.org_id = $1 AND c.run_id = r.id))`, u.org, u.runs)
	if err != nil {
		return err
	}
	return u.exec(ctx, `ANALYZE undo_row, undo_later`)
}

// findConflicts fills undo_conflict.
func (u *undo) findConflicts(ctx context.Context) error {
	// Images of a later run: of rows that these runs touched before it, or of what they wrote.
	err := u.exec(ctx, `INSERT INTO undo_conflict SELECT b.run_id, b.table_name, b.row_key
		FROM ingest.before_images b JOIN undo_later l ON l.id = b.run_id
			LEFT JOIN (SELECT table_name, row_key, n FROM undo_image WHERE NOT made UNION ALL SELECT table_name, row_key, 0 FROM undo_row) k USING (table_name, row_key)
		WHERE b.org_id = $1 AND b.table_name <> 'connections' AND (k.n < b.n OR (b.image->>'run_id')::uuid = ANY ($2))`, u.org, u.runs)
	if err != nil {
		return err
	}
	for _, x := range undone {
		// A later run that takes the row for its own keeps no image of it.
		err := u.exec(ctx, `INSERT INTO undo_conflict SELECT t.run_id, '`+x.name+`', `+x.key+` FROM `+x.table+` t JOIN undo_later l ON l.id = t.run_id
				JOIN undo_image i ON i.table_name = '`+x.name+`' AND i.row_key = `+x.key+` AND NOT i.made
			WHERE t.org_id = $1`, u.org)
		if err != nil {
			return err
		}
	}
	for _, k := range undoLinks {
		c := k.child
		err := u.exec(ctx, `INSERT INTO undo_conflict SELECT l.id, '`+c.name+`', `+c.key+` FROM undo_row p JOIN `+c.table+` t ON t.org_id = $1 AND t.`+k.column+` = p.id
				LEFT JOIN undo_later l ON l.id = t.run_id
			WHERE p.table_name = '`+k.parent.name+`'
				AND NOT EXISTS (SELECT FROM undo_row r WHERE r.table_name = '`+c.name+`' AND r.row_key = `+c.key+`)
				AND NOT EXISTS (SELECT FROM undo_image i WHERE i.table_name = '`+c.name+`' AND i.row_key = `+c.key+` AND NOT i.made)`, u.org)
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *undo) listConflicts(ctx context.Context, plan *UndoPlan) error {
	rows, err := u.tx.Query(ctx, `SELECT r.id, r.kind, r.state, r.started_at, c.n
		FROM (SELECT run_id, count(DISTINCT (table_name, row_key)) AS n FROM undo_conflict WHERE run_id IS NOT NULL GROUP BY run_id) c
			JOIN ingest.runs r ON r.org_id = $1 AND r.id = c.run_id ORDER BY r.started_at DESC, r.id`, u.org)
	if err != nil {
		return err
	}
	var c UndoConflict
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&c.Run.ID), &c.Run.Kind, (*string)(&c.Run.State), &c.Run.StartedAt, &c.Rows}, func() error {
		plan.Conflicts = append(plan.Conflicts, c)
		return nil
	})
	if err != nil {
		return err
	}
	rows, err = u.tx.Query(ctx, `SELECT table_name, count(DISTINCT row_key) FROM undo_conflict WHERE run_id IS NULL GROUP BY table_name ORDER BY table_name`)
	if err != nil {
		return err
	}
	var r UndoReference
	_, err = pgx.ForEachRow(rows, []any{&r.Table, &r.Rows}, func() error {
		plan.References = append(plan.References, r)
		return nil
	})
	return err
}

// carryOut does what the plan says.
func (u *undo) carryOut(ctx context.Context) error {
	for _, x := range undone {
		if err := u.exec(ctx, `DELETE FROM `+x.table+` t USING undo_row r WHERE t.org_id = $1 AND r.table_name = '`+x.name+`' AND `+x.key+` = r.row_key`, u.org); err != nil {
			return err
		}
	}
	for _, x := range undone {
		restore := u.update
		if x.columns == nil {
			restore = u.replace
		}
		if err := restore(ctx, x); err != nil {
			return fmt.Errorf("restore %s: %w", x.name, err)
		}
	}
	// The bookmark goes back even where later runs have moved it: what is taken back must be read again. Undoing those does not move it forward.
	err := u.exec(ctx, `WITH was AS (SELECT image FROM ingest.before_images WHERE org_id = $1 AND run_id = ANY ($2) AND table_name = 'connections' ORDER BY n LIMIT 1),
			later AS (UPDATE ingest.before_images b SET image = was.image FROM was, undo_later l WHERE b.org_id = $1 AND b.run_id = l.id AND b.table_name = 'connections')
		UPDATE ingest.connections c SET last_synced_at = (was.image->>'last_synced_at')::timestamptz, synced_to = (was.image->>'synced_to')::timestamptz
		FROM was WHERE c.org_id = $1`, u.org, u.runs)
	if err != nil {
		return err
	}
	if err := u.exec(ctx, `DELETE FROM ingest.before_images WHERE org_id = $1 AND run_id = ANY ($2)`, u.org, u.runs); err != nil {
		return err
	}
	return u.exec(ctx, `UPDATE ingest.runs SET undone_at = clock_timestamp(), images = false, finished_at = coalesce(finished_at, clock_timestamp()),
		state = CASE WHEN state = 'complete' THEN state ELSE 'abandoned' END WHERE org_id = $1 AND id = ANY ($2)`, u.org, u.runs)
}

// value is the SQL of what a column was, of image i read as the table's row p.
func (x *imaged) value(column string) string {
	switch {
	case column == x.large:
		return "i.messages"
	case slices.Contains(x.docs, column):
		return `CASE WHEN i.image->'` + nullDocs + `' ? '` + column + `' THEN 'null' ELSE p.` + quoted(column) + ` END`
	}
	return "p." + quoted(column)
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// update restores columns of rows that are there.
func (u *undo) update(ctx context.Context, x *imaged) error {
	const which = ` AND NOT i.made AND t.org_id = $1`
	if slices.Contains(x.columns, "external_id") {
		// The index on external ids is checked row by row.
		err := u.exec(ctx, `UPDATE `+x.table+` t SET external_id = NULL FROM undo_image i WHERE i.table_name = '`+x.name+`' AND `+x.key+` = i.row_key`+which+`
			AND t.external_id IS DISTINCT FROM i.image->>'external_id'`, u.org)
		if err != nil {
			return err
		}
	}
	var set []string
	for _, c := range x.columns {
		value := x.value(c)
		switch {
		case c == "org_id" || c == "id":
			continue
		case x == images.rejects && c == "resolved_at":
			// The object may have been rejected again for the same cause.
			value = "CASE WHEN " + value + " IS NULL AND EXISTS (SELECT FROM ingest.rejects o WHERE o.org_id = $1 AND o.cause = t.cause AND o.resolved_at IS NULL AND o.id <> t.id) THEN t.resolved_at ELSE " + value + " END"
		}
		set = append(set, c+" = "+value)
	}
	return u.exec(ctx, `UPDATE `+x.table+` t SET `+strings.Join(set, ", ")+` FROM undo_image i CROSS JOIN LATERAL jsonb_populate_record(NULL::`+x.table+`, i.image) p
		WHERE i.table_name = '`+x.name+`' AND `+x.key+` = i.row_key`+which, u.org)
}

// replace restores whole rows, whether they are there or not.
func (u *undo) replace(ctx context.Context, x *imaged) error {
	err := u.exec(ctx, `DELETE FROM `+x.table+` t USING undo_image i WHERE i.table_name = '`+x.name+`' AND `+x.key+` = i.row_key AND NOT i.made AND t.org_id = $1`, u.org)
	if err != nil {
		return err
	}
	rows, err := u.tx.Query(ctx, `SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`, x.table)
	if err != nil {
		return err
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	names, values := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i], values[i] = quoted(c), x.value(c)
	}
	return u.exec(ctx, `INSERT INTO `+x.table+` (`+strings.Join(names, ", ")+`) OVERRIDING SYSTEM VALUE SELECT `+strings.Join(values, ", ")+`
		FROM undo_image i CROSS JOIN LATERAL jsonb_populate_record(NULL::`+x.table+`, i.image) p WHERE i.table_name = '`+x.name+`' AND NOT i.made`)
}
