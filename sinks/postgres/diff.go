package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// DiffRun is a comparison that was made. Report is the whole of it as JSON, without the findings.
type DiffRun struct {
	ID         record.UUID     `json:"id"`
	Left       string          `json:"left"`  // intercom, postgres, snapshot:DIR
	Right      string          `json:"right"` // likewise
	Level      string          `json:"level"` // count, fast, full
	Only       []string        `json:"only"`  // streams; empty: all
	Verdict    string          `json:"verdict"`
	Sentence   string          `json:"sentence"`
	Watermark  time.Time       `json:"watermark"` // before that moment nothing was read
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at"`
	Findings   int64           `json:"findings"`         // how many are stored
	Report     json.RawMessage `json:"report,omitempty"` // not in lists
}

// DiffFinding is one object that was not simply equal. Finding is the whole of it as JSON.
type DiffFinding struct {
	Entity   string          `json:"entity"`
	SourceID string          `json:"source_id"`
	Class    string          `json:"class"`
	Cause    string          `json:"cause"`
	Columns  []string        `json:"columns"` // that differ
	Finding  json.RawMessage `json:"finding"`
}

// keptDiffs is how many diffs of an organisation keep their findings: a million of them take half a gigabyte, and only those of recent
// ones can still be acted on. The diffs themselves are kept.
const keptDiffs = 10

// findingBytes is how much of the findings is in memory at a time.
const findingBytes = 4 << 20

var findingColumns = []string{"org_id", "diff_id", "n", "entity", "source_id", "class", "cause", "columns", "finding"}

// SaveDiff keeps a diff with its findings, which are read once, in one transaction and in bounded memory. An ID that is there already is
// replaced. The error of findings, or of the database, leaves nothing of it; failures that pass are not tried again, as findings cannot be read
// twice. run.Findings is not used.
func (db *DB) SaveDiff(ctx context.Context, org record.UUID, run DiffRun, findings iter.Seq2[DiffFinding, error]) error {
	var given error // not the database's
	report, err := record.CanonicalJSON(run.Report)
	if err != nil {
		return fmt.Errorf("keep diff %s: the report: %w", run.ID, err)
	}
	err = db.inTx(ctx, func(tx pgx.Tx) error {
		// Whoever yields the findings may have to wait for a disk.
		if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '10min'`); err != nil {
			return err
		}
		only := run.Only
		if only == nil {
			only = []string{}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM ingest.diff_findings WHERE org_id = $1 AND diff_id = $2`, org, run.ID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO ingest.diff_runs (org_id, id, left_side, right_side, level, "only", verdict, sentence, watermark, started_at, finished_at, report)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (org_id, id) DO UPDATE SET left_side = $3, right_side = $4, level = $5, "only" = $6, verdict = $7, sentence = $8, watermark = $9,
				started_at = $10, finished_at = $11, report = $12`,
			org, run.ID, record.CleanText(run.Left), record.CleanText(run.Right), run.Level, only, run.Verdict, record.CleanText(run.Sentence),
			run.Watermark, run.StartedAt, run.FinishedAt, []byte(report))
		if err != nil {
			return err
		}
		if given, err = copyFindings(ctx, tx, org, run.ID, findings); given != nil || err != nil {
			return errors.Join(given, err)
		}
		_, err = tx.Exec(ctx, `DELETE FROM ingest.diff_findings f USING (
				SELECT id FROM ingest.diff_runs WHERE org_id = $1 ORDER BY started_at DESC, id OFFSET $2) r
			WHERE f.org_id = $1 AND f.diff_id = r.id AND r.id <> $3`, org, keptDiffs, run.ID)
		return err
	})
	if given != nil {
		return fmt.Errorf("keep diff %s: %w", run.ID, given)
	}
	return wrap(ctx, err, "keep diff %s", run.ID)
}

// copyFindings sends the findings. given is what was wrong with them, err what was wrong with the database.
func copyFindings(ctx context.Context, tx pgx.Tx, org, diff record.UUID, findings iter.Seq2[DiffFinding, error]) (given, err error) {
	if findings == nil {
		return nil, nil
	}
	var buf copyBuffer
	buf.reset(findingColumns)
	flush := func() error {
		if buf.rows == 0 {
			return nil
		}
		data, err := buf.finish()
		if err != nil {
			return err
		}
		_, err = tx.Conn().PgConn().CopyFrom(ctx, data, `COPY ingest.diff_findings (`+strings.Join(findingColumns, ", ")+`) FROM STDIN (FORMAT binary)`)
		buf.reset(findingColumns)
		return err
	}
	n := int64(0)
	for f, err := range findings {
		if err != nil {
			return err, nil
		}
		doc, err := record.CanonicalJSON(f.Finding)
		if err != nil {
			return fmt.Errorf("finding %d, %s %s: %w", n, f.Entity, f.SourceID, err), nil
		}
		columns := make([]string, len(f.Columns))
		for i, c := range f.Columns {
			columns[i] = record.CleanText(c)
		}
		buf.row()
		buf.uuid(org)
		buf.uuid(diff)
		buf.int8(n)
		buf.text(record.CleanText(f.Entity))
		buf.text(record.CleanText(f.SourceID))
		buf.text(record.CleanText(f.Class))
		buf.text(record.CleanText(f.Cause))
		buf.texts(columns)
		buf.jsonb(doc, "{}")
		n++
		if len(buf.b) >= findingBytes {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return nil, flush()
}

func (db *DB) diffColumns() string {
	return `d.id, d.left_side, d.right_side, d.level, d."only", d.verdict, d.sentence, d.watermark, d.started_at, d.finished_at,
	(SELECT coalesce(max(f.n) + 1, 0) FROM ` + db.From("ingest.diff_findings") + ` f WHERE f.org_id = d.org_id AND f.diff_id = d.id)`
}

func scanDiff(row pgx.CollectableRow) (x DiffRun, err error) {
	err = row.Scan((*[16]byte)(&x.ID), &x.Left, &x.Right, &x.Level, &x.Only, &x.Verdict, &x.Sentence, &x.Watermark, &x.StartedAt, &x.FinishedAt, &x.Findings)
	return x, err
}

// DiffRuns lists the newest diffs of org, newest first; limit 0 is all of them.
func (db *DB) DiffRuns(ctx context.Context, org record.UUID, limit int) ([]DiffRun, error) {
	return db.diffs(ctx, `SELECT `+db.diffColumns()+` FROM ingest.diff_runs d WHERE d.org_id = $1 ORDER BY d.started_at DESC, d.id LIMIT nullif($2, 0)`, org, limit)
}

// NewestDiffs returns the newest diff for each pair of sides, newest first.
func (db *DB) NewestDiffs(ctx context.Context, org record.UUID) ([]DiffRun, error) {
	return db.diffs(ctx, `SELECT `+db.diffColumns()+` FROM (SELECT DISTINCT ON (left_side, right_side) * FROM ingest.diff_runs WHERE org_id = $1
		ORDER BY left_side, right_side, started_at DESC, id) d ORDER BY d.started_at DESC, d.id`, org)
}

func (db *DB) diffs(ctx context.Context, sql string, args ...any) ([]DiffRun, error) {
	rows, err := db.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, wrap(ctx, err, "list diffs")
	}
	list, err := pgx.CollectRows(rows, scanDiff)
	return list, wrap(ctx, err, "list diffs")
}

// DiffRun returns the diff whose id begins with prefix, with its Report. ErrNotFound if there is none or more than one.
func (db *DB) DiffRun(ctx context.Context, org record.UUID, prefix string) (DiffRun, error) {
	list, err := db.diffs(ctx, `SELECT `+db.diffColumns()+` FROM ingest.diff_runs d WHERE d.org_id = $1 AND starts_with(d.id::text, $2) LIMIT 2`, org, strings.ToLower(prefix))
	switch {
	case err != nil:
		return DiffRun{}, err
	case len(list) == 0:
		return DiffRun{}, fmt.Errorf("diff %q: %w", prefix, ErrNotFound)
	case len(list) > 1:
		return DiffRun{}, fmt.Errorf("diff %q: %w: it is the beginning of several ids", prefix, ErrNotFound)
	}
	x := list[0]
	err = db.pool.QueryRow(ctx, `SELECT report FROM ingest.diff_runs WHERE org_id = $1 AND id = $2`, org, x.ID).Scan((*[]byte)(&x.Report))
	if errors.Is(err, pgx.ErrNoRows) {
		return DiffRun{}, fmt.Errorf("diff %q: %w", prefix, ErrNotFound)
	}
	return x, wrap(ctx, err, "read diff %s", x.ID)
}

// DiffFilter selects findings. The zero value selects all.
type DiffFilter struct {
	Entity string // "": all
	Class  string // "": all
}

// DiffFindings yields the findings of a diff in the order in which they were saved, in no more memory than a page of them takes. It stops
// after yielding an error.
func (db *DB) DiffFindings(ctx context.Context, org, diff record.UUID, f DiffFilter) iter.Seq2[DiffFinding, error] {
	type numbered struct {
		n int64
		DiffFinding
	}
	list := pages(func(after *numbered) ([]numbered, error) {
		from := int64(-1)
		if after != nil {
			from = after.n
		}
		rows, err := db.pool.Query(ctx, `SELECT n, entity, source_id, class, cause, columns, finding FROM ingest.diff_findings
			WHERE org_id = $1 AND diff_id = $2 AND n > $3 AND ($4 = '' OR entity = $4) AND ($5 = '' OR class = $5) ORDER BY n LIMIT $6`,
			org, diff, from, f.Entity, f.Class, pageSize)
		if err != nil {
			return nil, wrap(ctx, err, "list the findings of diff %s", diff)
		}
		page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x numbered, err error) {
			err = row.Scan(&x.n, &x.Entity, &x.SourceID, &x.Class, &x.Cause, &x.Columns, (*[]byte)(&x.Finding))
			return x, err
		})
		return page, wrap(ctx, err, "list the findings of diff %s", diff)
	})
	return func(yield func(DiffFinding, error) bool) {
		for x, err := range list {
			if !yield(x.DiffFinding, err) {
				return
			}
		}
	}
}
