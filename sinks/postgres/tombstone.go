package postgres

import (
	"context"
	"time"

	"haloingest/pipeline/record"
)

// Word that an object is gone is kept in ingest.tombstones for ever, and a state of the object counts as the present one only if that does not
// end it (record.Version.Ends). So it does not matter in which order states and tombstones come: the row has the content of the newest
// state and is marked deleted if any tombstone ends that. A tombstone of an object that was never seen makes no row.
//
// What goes with an object that is gone: a conversation's knowledge, at once. What stays: a deleted contact's conversations with
// their knowledge, whose scope is still that contact and nobody else; a deleted company's contacts; Halo's own rows that a contact was
// matched to.

// tombstone is an entry of ingest.tombstones.
type tombstone struct {
	ID      string
	Why     record.Gone
	At      time.Time
	Fetched time.Time
	Into    string
}

func (t tombstone) version() record.Version {
	return record.Version{UpdatedAt: t.At, FetchedAt: t.Fetched, Rank: 1}
}

// and is what is known after both: the newer of the two, which ends what either ends, and that the contact was merged if either says so.
// Intercom forgets merges: the one that is read again later may be answered as not found.
func (t tombstone) and(u tombstone) tombstone {
	if t.ID == "" {
		return u
	}
	newer, older := u, t
	if t.version().Compare(u.version()) >= 0 {
		newer, older = t, u
	}
	if newer.Into == "" && older.Into != "" {
		newer.Into, newer.Why = older.Into, older.Why
	}
	if older.Fetched.After(newer.Fetched) {
		newer.Fetched = older.Fetched
	}
	return newer
}

// tombstoneOf reads what a change says; a tombstone's version says when the object went.
func tombstoneOf(it *item) tombstone {
	g := it.change.Gone
	t := tombstone{ID: it.change.SourceID, Why: g.Why, At: it.version.UpdatedAt, Fetched: it.version.FetchedAt, Into: g.MergedInto}
	if t.Into == t.ID {
		t.Into = ""
	}
	return t
}

// tombstones reads what is known of the objects' ends.
func (l *loader) tombstones(ctx context.Context, kind record.Kind, ids []string) (map[string]tombstone, error) {
	return l.readTombstones(ctx, `SELECT t.source_id, t.why, t.gone_at, t.fetched_at, coalesce(t.merged_into, '')
		FROM unnest($3::text[]) AS k(id) JOIN ingest.tombstones t ON t.org_id = $1 AND t.kind = $2 AND t.source_id = k.id`, kind, ids)
}

// mergedInto reads which objects have been merged into the given ones without having been bound to a row.
func (l *loader) mergedInto(ctx context.Context, kind record.Kind, ids []string) (map[string]tombstone, error) {
	return l.readTombstones(ctx, `SELECT t.source_id, t.why, t.gone_at, t.fetched_at, coalesce(t.merged_into, '')
		FROM unnest($3::text[]) AS k(id) JOIN ingest.tombstones t ON t.org_id = $1 AND t.kind = $2 AND t.merged_into = k.id
		WHERE NOT EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = $1 AND m.kind = $2 AND m.source_id = t.source_id)`, kind, ids)
}

func (l *loader) readTombstones(ctx context.Context, sql string, kind record.Kind, ids []string) (map[string]tombstone, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := l.conn.Query(ctx, sql, l.org, string(kind), ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found map[string]tombstone
	for rows.Next() {
		var t tombstone
		if err := rows.Scan(&t.ID, (*string)(&t.Why), &t.At, &t.Fetched, &t.Into); err != nil {
			return nil, err
		}
		t.At, t.Fetched = t.At.UTC(), t.Fetched.UTC()
		if found == nil {
			found = make(map[string]tombstone)
		}
		found[t.ID] = t
	}
	return found, rows.Err()
}

// keepTombstones stores the tombstones in place of what is known of the same objects. The organisation's lock is held alone.
func (l *loader) keepTombstones(ctx context.Context, kind record.Kind, list []tombstone) error {
	if len(list) == 0 {
		return nil
	}
	var ids, why, into []string
	var at, fetched []time.Time
	for _, t := range list {
		ids, why, into = append(ids, t.ID), append(why, string(t.Why)), append(into, t.Into)
		at, fetched = append(at, t.At), append(fetched, t.Fetched)
	}
	x := images.tombstones
	_, err := l.conn.Exec(ctx, x.insert(x.byKey("unnest($3::text[]) AS k(id)", "t.kind = $4::text AND t.source_id = k.id")), l.org, l.run.ID, ids, string(kind))
	if err != nil {
		return err
	}
	_, err = l.conn.Exec(ctx, `INSERT INTO ingest.tombstones (org_id, kind, source_id, why, gone_at, fetched_at, merged_into, run_id)
		SELECT $1, $2, k.id, k.why, k.gone, k.fetched, nullif(k.merged, ''), $8
		FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[]) AS k(id, why, gone, fetched, merged)
		ON CONFLICT (org_id, kind, source_id) DO UPDATE SET why = excluded.why, gone_at = excluded.gone_at, fetched_at = excluded.fetched_at,
			merged_into = excluded.merged_into, run_id = excluded.run_id`,
		l.org, string(kind), ids, why, at, fetched, into, l.run.ID)
	return err
}

// newTombstones sorts out the tombstones that say nothing new; what is left is to be kept.
func (l *loader) newTombstones(items []*item, known map[string]tombstone) (fresh []*item, list []tombstone) {
	for _, it := range items {
		k := known[it.change.SourceID]
		t := k.and(tombstoneOf(it))
		if t == k && !l.rewrite {
			it.outcome = equal
			continue
		}
		fresh, list = append(fresh, it), append(list, t)
	}
	return fresh, list
}

// bury marks conversations or tickets as gone and withdraws their knowledge. Their links are still repaired when the object that
// they wait for comes, so that the order does not matter.
func (l *loader) bury(ctx context.Context, kind record.Kind, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	known, err := l.tombstones(ctx, kind, sourceIDs(items))
	if err != nil {
		return err
	}
	items, list := l.newTombstones(items, known)
	if len(items) == 0 {
		return nil
	}
	if err := l.keepTombstones(ctx, kind, list); err != nil {
		return err
	}
	ids := make([]record.UUID, len(items))
	at, fetched := make([]time.Time, len(items)), make([]time.Time, len(items))
	index := make(map[record.UUID]*item, len(items))
	for i, it := range items {
		ids[i] = record.RowID(l.org, kind, it.change.SourceID)
		at[i], fetched[i] = list[i].At, list[i].Fetched
		index[ids[i]] = it
	}
	// See record.Version.Ends and outdated.
	older := "(coalesce(t.source_updated_at, '-infinity') < k.gone OR t.updated_at <= k.fetched)"
	if l.rewrite {
		older = "t.updated_at <= k.fetched"
	}
	buried, err := l.change(ctx, kind.Table(), "deleted_at = k.gone, run_id = $2::uuid", `unnest($3::uuid[], $4::timestamptz[], $5::timestamptz[]) AS k(id, gone, fetched)`,
		`t.id = k.id AND t.deleted_at IS DISTINCT FROM k.gone AND `+older, ids, at, fetched)
	if err != nil {
		return err
	}
	for _, id := range buried {
		index[id].outcome = deleted
	}
	if err := l.settleUnburied(ctx, kind, items); err != nil {
		return err
	}
	if len(buried) == 0 {
		return nil
	}
	if kind != record.KindConversation {
		return nil
	}
	if err := l.dropWithheld(ctx, buried); err != nil {
		return err
	}
	n, err := l.remove(ctx, images.knowledge, "unnest($3::uuid[]) AS k(id)", "t.transcript_id = k.id", buried)
	l.counts.Add("load/knowledge/deleted", n)
	return err
}

// settleUnburied names the outcome of tombstones that changed no row: the object is not there, or is there in a newer state.
func (l *loader) settleUnburied(ctx context.Context, kind record.Kind, items []*item) error {
	var left []*item
	var ids []record.UUID
	for _, it := range items {
		if it.outcome == 0 {
			left, ids = append(left, it), append(ids, record.RowID(l.org, kind, it.change.SourceID))
		}
	}
	if len(left) == 0 {
		return nil
	}
	rows, err := l.conn.Query(ctx, `SELECT t.id FROM unnest($2::uuid[]) AS k(id) JOIN public.`+kind.Table()+` t ON t.org_id = $1 AND t.id = k.id
		WHERE t.deleted_at IS NULL`, l.org, ids)
	if err != nil {
		return err
	}
	there, err := collectUUIDs(rows)
	if err != nil {
		return err
	}
	alive := make(map[record.UUID]bool, len(there))
	for _, id := range there {
		alive[id] = true
	}
	for i, it := range left {
		it.outcome = equal
		if alive[ids[i]] {
			it.outcome = stale
		}
	}
	return nil
}
