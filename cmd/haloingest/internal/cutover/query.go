package cutover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
	"haloingest/sinks/postgres"
)

// Queries that only a checklist needs. Each reads one state of its own; a run that goes on meanwhile is an item of its own.

// ask reads one row.
func (l *look) ask(ctx context.Context, what string, into []any, sql string, args ...any) error {
	if err := l.db.Pool().QueryRow(ctx, sql, args...).Scan(into...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// each calls f after each row was read into the variables.
func (l *look) each(ctx context.Context, what string, into []any, f func() error, sql string, args ...any) error {
	rows, err := l.db.Pool().Query(ctx, sql, args...)
	if err == nil {
		_, err = pgx.ForEachRow(rows, into, f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (l *look) runs(ctx context.Context) error {
	streams := make([]string, len(record.Kinds))
	for i, kind := range record.Kinds {
		streams[i] = kind.Stream()
	}
	var walk Walk
	err := l.each(ctx, "look for backfills", []any{&walk.Stream, (*[16]byte)(&walk.Run), &walk.Attempts, &walk.UserIDField, &walk.CompanyIDField, &walk.StartedAt, &walk.FinishedAt}, func() error {
		l.Walks = append(l.Walks, walk)
		return nil
	}, `SELECT c.stream, r.id, r.attempts, coalesce(r.spec->'params'->>'user_id_field', ''), coalesce(r.spec->'params'->>'company_id_field', ''), r.started_at, coalesce(r.finished_at, c.updated_at)
		FROM ingest.runs r JOIN ingest.checkpoints c ON c.org_id = r.org_id AND c.run_id = r.id
		WHERE r.org_id = $1 AND r.kind = 'backfill' AND r.state = 'complete' AND r.undone_at IS NULL AND NOT r.spec ?| '{since,sample}'
			AND (NOT r.spec ? 'only' OR r.spec->'only' ? c.stream) AND c.stream = ANY ($2) AND c.complete AND c.skipped IS NULL
		ORDER BY r.started_at DESC, r.id, c.stream`, l.Org, streams)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		run   **postgres.RunInfo
		where string
	}{
		{&l.Unfinished, `kind = 'backfill' AND state NOT IN ('complete', 'abandoned') AND NOT spec ?| '{since,sample}'`},
		{&l.Replay, `kind = 'replay' AND state = 'complete' AND NOT spec ?| '{only,since,sample}'`},
	} {
		var id [16]byte
		err := l.ask(ctx, "look for runs", []any{&id}, `SELECT id FROM ingest.runs WHERE org_id = $1 AND undone_at IS NULL AND `+x.where+` ORDER BY started_at DESC LIMIT 1`, l.Org)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		run, err := l.db.RunInfo(ctx, l.Org, record.UUID(id).String())
		if err != nil {
			return err
		}
		*x.run = &run
	}
	// A stream's row in checkpoints is written with its last batch, and once more when it is complete.
	var w Write
	err = l.each(ctx, "look for runs that wrote", []any{(*[16]byte)(&w.Run), &w.Kind, &w.At}, func() error {
		l.wrote = append(l.wrote, w)
		return nil
	}, `WITH wrote AS (SELECT c.run_id, max(c.updated_at) AS at FROM ingest.checkpoints c WHERE c.org_id = $1 AND EXISTS (
				SELECT FROM jsonb_each(c.counts) AS n(name, times) WHERE starts_with(n.name, 'load/')
					AND split_part(n.name, '/', 3) NOT IN ('equal', 'stale', 'rejected') AND n.times::text::numeric > 0)
			GROUP BY c.run_id)
		SELECT r.id, r.kind, w.at FROM wrote w JOIN ingest.runs r ON r.org_id = $1 AND r.id = w.run_id
		UNION ALL SELECT id, 'undoing of ' || kind, undone_at FROM ingest.runs WHERE org_id = $1 AND undone_at IS NOT NULL
		ORDER BY 3 DESC, 1`, l.Org)
	if err == nil && len(l.wrote) > 0 {
		l.Wrote = &l.wrote[0]
	}
	return err
}

func (l *look) inbox(ctx context.Context) error {
	var newest, oldest *time.Time
	x := &l.Inbox
	err := l.ask(ctx, "count deliveries of webhooks", []any{&x.Received, &x.Open, &x.Failed, &x.Parked, &x.Nameless, &newest, &oldest, &x.Error},
		`SELECT count(*), count(*) FILTER (WHERE open), count(*) FILTER (WHERE open AND error IS NOT NULL), count(*) FILTER (WHERE open AND parked_at IS NOT NULL),
			count(*) FILTER (WHERE done_at IS NULL AND NOT open), max(received_at), min(received_at) FILTER (WHERE open),
			coalesce((array_agg(error ORDER BY id) FILTER (WHERE open AND error IS NOT NULL))[1], '')
		FROM (SELECT *, done_at IS NULL AND (parked_at IS NULL OR objects <> '{}') AS open FROM ingest.webhook_inbox WHERE org_id = $1) i`, l.Org)
	if newest != nil {
		x.Newest = *newest
	}
	if oldest != nil {
		x.OldestOpen = *oldest
	}
	return err
}

// maxParts is how many parts of a conversation Intercom gives out at most ("Retrieve a conversation" in its API reference).
const maxParts = 500

func (l *look) conversations(ctx context.Context, each func(Incomplete) error) error {
	var x Incomplete
	return l.each(ctx, "list incomplete conversations", []any{&x.SourceID, &x.Held, &x.Expected}, func() error {
		x.Cut = x.Held >= maxParts
		if x.Cut {
			l.Cut++
		} else {
			l.Unexplained++
		}
		if len(l.Incomplete) < mostIncomplete {
			l.Incomplete = append(l.Incomplete, x)
		}
		if each == nil {
			return nil
		}
		return each(x)
	}, `SELECT source_id, held, expected FROM (
			SELECT source_id, CASE WHEN jsonb_typeof(metadata->'incomplete'->'held') = 'number' THEN (metadata->'incomplete'->>'held')::numeric::bigint ELSE 0 END AS held,
				CASE WHEN jsonb_typeof(metadata->'incomplete'->'expected') = 'number' THEN (metadata->'incomplete'->>'expected')::numeric::bigint ELSE 0 END AS expected
			FROM `+l.db.From("public.transcripts")+` WHERE org_id = $1 AND NOT complete AND source_id IS NOT NULL AND deleted_at IS NULL) x
		ORDER BY held >= $2, source_id`, l.Org, maxParts)
}

// linkBatch is how many conversations are looked up at a time.
const linkBatch = 1000

func (l *look) links(ctx context.Context) error {
	err := l.ask(ctx, "count links that wait", []any{&l.Links.Waiting, &l.Links.Broken},
		`SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = p.org_id AND m.kind = p.ref_kind AND m.source_id = p.ref_id
			AND m.deleted_at IS NULL)) FROM ingest.pending_links p WHERE p.org_id = $1`, l.Org)
	if err != nil {
		return err
	}
	// The map has contacts and companies; the row of a conversation is known by its id.
	after := ""
	for {
		var ids []string
		var ref string
		err := l.each(ctx, "list links that wait", []any{&ref}, func() error { ids = append(ids, ref); return nil },
			`SELECT DISTINCT ref_id FROM ingest.pending_links WHERE org_id = $1 AND ref_kind = $2 AND ref_id > $3 ORDER BY ref_id LIMIT $4`,
			l.Org, string(record.KindConversation), after, linkBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		rows := make([]record.UUID, len(ids))
		for i, id := range ids {
			rows[i] = record.RowID(l.Org, record.KindConversation, id)
		}
		var n int64
		err = l.ask(ctx, "look up conversations", []any{&n}, `SELECT count(*) FROM unnest($2::text[], $3::uuid[]) AS k(ref, id)
			JOIN `+l.db.From("public.transcripts")+` t ON t.org_id = $1 AND t.id = k.id AND t.deleted_at IS NULL
			JOIN ingest.pending_links p ON p.org_id = $1 AND p.ref_kind = $4 AND p.ref_id = k.ref`, l.Org, ids, rows, string(record.KindConversation))
		if err != nil {
			return err
		}
		l.Links.Broken += n
	}
}

func (l *look) snapshots(ctx context.Context) error {
	runs, err := l.db.SnapshotRuns(ctx, l.Org)
	if err != nil {
		return err
	}
	index := map[string]int{}
	held := map[string]map[record.UUID]bool{}
	for _, r := range runs { // newest first
		i, ok := index[r.Location]
		if !ok {
			i = len(l.Snapshots)
			index[r.Location] = i
			held[r.Location] = map[record.UUID]bool{}
			l.Snapshots = append(l.Snapshots, Kept{Location: r.Location, NewestAt: r.StartedAt})
		}
		k := &l.Snapshots[i]
		k.Runs++
		k.Files += r.Files
		k.Bytes += r.Bytes
		held[r.Location][r.Run] = true
	}
	for i := range l.Snapshots {
		k := &l.Snapshots[i]
		var began time.Time
		if began, k.Walked = l.walked(held[k.Location]); !k.Walked {
			continue
		}
		for _, w := range l.wrote { // newest first, so the oldest one stays
			if w.At.After(began) && !held[k.Location][w.Run] {
				k.Left = w
			}
		}
	}
	return nil
}

// walked reports whether the runs have read all streams from beginning to end, and when the first of the newest ones that did began.
func (l *look) walked(runs map[record.UUID]bool) (began time.Time, all bool) {
	held := slices.DeleteFunc(slices.Clone(l.Walks), func(w Walk) bool { return !runs[w.Run] })
	for _, kind := range record.Kinds {
		w, ok := walk(held, kind.Stream(), l.Connection)
		if !ok {
			return time.Time{}, false
		}
		if began.IsZero() || w.StartedAt.Before(began) {
			began = w.StartedAt
		}
	}
	return began, true
}

// mostDiffs are looked at.
const mostDiffs = 200

func (l *look) diffs(ctx context.Context) (err error) {
	if l.Diffs, err = l.db.DiffRuns(ctx, l.Org, mostDiffs); err != nil {
		return err
	}
	for i, d := range l.Diffs {
		if !candidate(d) || len(l.Proofs) >= 5 {
			continue
		}
		// The report tells what was compared, and what its file's hash is.
		full, err := l.db.DiffRun(ctx, l.Org, d.ID.String())
		if err != nil {
			return err
		}
		l.Diffs[i].Report = full.Report
		l.Proofs[d.ID] = proofOf(full)
	}
	return nil
}

// candidate reports whether a diff is of the kind that can prove that Halo has everything: with Intercom itself, since a snapshot
// holds no more than what was read.
func candidate(d postgres.DiffRun) bool {
	return d.Left == "intercom" && d.Right == "postgres" && d.Level == string(diff.LevelFull) && len(d.Only) == 0 && d.Verdict != string(diff.VerdictPartial)
}

func proofOf(d postgres.DiffRun) Proof {
	p := Proof{ID: d.ID, Left: d.Left, Right: d.Right, Level: d.Level, Verdict: d.Verdict, Sentence: d.Sentence, StartedAt: d.StartedAt, FinishedAt: d.FinishedAt}
	var r diff.Report
	if json.Unmarshal(d.Report, &r) == nil && !r.ShowValues && r.ID == d.ID {
		if sum, err := report.Sum(r); err == nil {
			p.SHA256 = sum
		}
	}
	return p
}

// notCompared names what a full diff of everything should have compared and has not.
func notCompared(d postgres.DiffRun) []string {
	var r diff.Report
	if err := json.Unmarshal(d.Report, &r); err != nil {
		return diff.Entities[:]
	}
	var missing []string
	for _, name := range diff.Entities {
		if !slices.ContainsFunc(r.Entities, func(e diff.Entity) bool { return e.Name == name && !e.Partial }) {
			missing = append(missing, name)
		}
	}
	return missing
}
