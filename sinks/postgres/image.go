package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Before-images. A run can be undone because every row that it changes or deletes is kept in ingest.before_images as it was before, in the
// transaction that changes it. A row is kept the first time only: while it does not have the run's id, or else it has been kept, or the run has made
// it. So rows that a run inserts need no image, what is equal has none either, and a first backfill writes none at all.
//
// Every UPDATE, DELETE and upsert of the loader goes with one of the methods here. Halo may change a row of its own between the image and the
// statement; such rows (people) are locked for it.

// imaged says how a table's rows are kept: the key as text and the image, of a row t.
type imaged struct {
	table   string // schema-qualified
	name    string // in ingest.before_images
	key     string
	image   string
	large   string   // a column that is kept as it is, or ""
	columns []string // what the image holds and an undo restores; nil: whole rows, which may have been deleted
	docs    []string // jsonb columns among them: a JSON null is told from NULL by the key "~", which lists them
	lock    bool
}

// nullDocs is the key of an image that lists the columns which hold a JSON null.
const nullDocs = "~"

func newImaged(table, key string, columns []string, large string, docs ...string) *imaged {
	x := &imaged{table: table, key: key, large: large, columns: columns, docs: docs}
	_, x.name, _ = strings.Cut(table, ".")
	x.image = "to_jsonb(t)"
	if columns != nil {
		var list []string
		for _, c := range columns {
			if c != large {
				list = append(list, "t."+c)
			}
		}
		x.image = "(SELECT to_jsonb(i) FROM (SELECT " + strings.Join(list, ", ") + ") i)"
	}
	if len(docs) > 0 {
		var any, names []string
		for _, d := range docs {
			any = append(any, "jsonb_typeof(t."+d+") = 'null'")
			names = append(names, "CASE WHEN jsonb_typeof(t."+d+") = 'null' THEN '"+d+"' END")
		}
		x.image = "CASE WHEN " + strings.Join(any, " OR ") + " THEN " + x.image + " || jsonb_build_object('" + nullDocs + "', jsonb_build_array(" +
			strings.Join(names, ", ") + ")) ELSE " + x.image + " END"
	}
	return x
}

// images are the tables that are kept. They never change after the package is initialised.
var images = struct {
	endUsers, companies, transcripts, tickets, knowledge, idMap, tombstones, contactCompanies, pendingLinks, rejects *imaged
}{
	endUsers:         newImaged("public.end_users", "t.id::text", endUserColumns, "", "custom_fields", "context").locked(),
	companies:        newImaged("public.companies", "t.id::text", companyColumns, "", "custom_fields", "context").locked(),
	transcripts:      newImaged("public.transcripts", "t.id::text", transcriptColumns, "messages", "metadata"),
	tickets:          newImaged("public.tickets", "t.id::text", ticketColumns, "messages", "metadata"),
	knowledge:        newImaged("public.knowledge", "t.id::text", nil, "", "metadata"),
	idMap:            newImaged("ingest.id_map", "t.kind || ':' || t.source_id", nil, ""),
	tombstones:       newImaged("ingest.tombstones", "t.kind || ':' || t.source_id", nil, ""),
	contactCompanies: newImaged("ingest.contact_companies", "jsonb_build_array(t.contact_id, t.company_id)::text", nil, ""),
	pendingLinks:     newImaged("ingest.pending_links", "jsonb_build_array(t.ref_kind, t.ref_id, t.table_name, t.row_id)::text", nil, ""),
	rejects: newImaged("ingest.rejects", "t.id::text",
		[]string{"org_id", "id", "run_id", "stream", "reason", "last_seen_at", "times", "resolved_at"}, ""),
}

func (x *imaged) locked() *imaged {
	x.lock = true
	return x
}

// imagesOf returns how a table of schema public is kept.
func imagesOf(table string) *imaged {
	switch table {
	case "end_users":
		return images.endUsers
	case "companies":
		return images.companies
	case "transcripts":
		return images.transcripts
	case "tickets":
		return images.tickets
	}
	return images.knowledge
}

// insert keeps the rows t of a FROM clause with its conditions, of organisation $1 and by run $2.
func (x *imaged) insert(from string) string {
	large, value := "", ""
	if x.large != "" {
		large, value = ", messages", ", t."+x.large
	}
	return "INSERT INTO ingest.before_images (org_id, run_id, table_name, row_key, image" + large + ") SELECT $1::uuid, $2::uuid, '" + x.name + "', " +
		x.key + ", " + x.image + value + " FROM " + from + " AND t.run_id IS DISTINCT FROM $2::uuid ON CONFLICT DO NOTHING"
}

// byKey is a FROM clause of rows by the columns of k, each looked up by index whatever the planner believes (see probe.go). match is their condition.
func (x *imaged) byKey(keys, match string) string {
	lock := ""
	if x.lock {
		lock = " FOR NO KEY UPDATE"
	}
	return keys + " CROSS JOIN LATERAL (SELECT * FROM " + x.table + " t WHERE t.org_id = $1::uuid AND " + match + " OFFSET 0" + lock + ") t WHERE true"
}

// keep keeps the rows with these ids.
func (l *loader) keep(ctx context.Context, x *imaged, ids []record.UUID) error {
	if len(ids) == 0 {
		return nil
	}
	if x.lock {
		ids = slices.Clone(ids)
		slices.SortFunc(ids, func(a, b record.UUID) int { return slices.Compare(a[:], b[:]) })
	}
	_, err := l.conn.Exec(ctx, x.insert(x.byKey("unnest($3::uuid[]) AS k(id)", "t.id = k.id")), l.org, l.run.ID, ids)
	return err
}

// keepTemp keeps the rows that those in the target's temp table are about to be merged into.
func (l *loader) keepTemp(ctx context.Context, t *target) error {
	x := imagesOf(strings.TrimPrefix(t.name, "public."))
	_, err := l.conn.Exec(ctx, x.insert(x.byKey("(SELECT id FROM "+t.temp+" ORDER BY id) AS k", "t.id = k.id")), l.org, l.run.ID)
	return err
}

// change updates rows t of a table of conversations, tickets or knowledge, keeping them before, and returns their ids. from and where, with parameters
// from $3 on, name them beside the organisation; set may use both as well.
func (l *loader) change(ctx context.Context, table, set, from, where string, args ...any) ([]record.UUID, error) {
	x := imagesOf(table)
	where = "t.org_id = $1::uuid AND " + where
	args = append([]any{l.org, l.run.ID}, args...)
	if _, err := l.conn.Exec(ctx, x.insert(from+" CROSS JOIN "+x.table+" t WHERE "+where), args...); err != nil {
		return nil, err
	}
	rows, err := l.conn.Query(ctx, "UPDATE "+x.table+" t SET "+set+" FROM "+from+" WHERE "+where+" AND $2::uuid IS NOT NULL RETURNING t.id", args...)
	if err != nil {
		return nil, err
	}
	return collectUUIDs(rows)
}

// removing is a statement that deletes rows t, keeps them, and returns what is asked of each as gone. using and where are as for change.
func (x *imaged) removing(using, where, returning string) string {
	return "WITH gone AS (DELETE FROM " + x.table + " t USING " + using + " WHERE t.org_id = $1::uuid AND " + where + " RETURNING t.*), kept AS (" +
		x.insert("gone t WHERE true") + ") SELECT " + returning + " FROM gone t"
}

// remove deletes rows and says how many.
func (l *loader) remove(ctx context.Context, x *imaged, using, where string, args ...any) (int64, error) {
	var n int64
	err := l.conn.QueryRow(ctx, x.removing(using, where, "count(*)"), append([]any{l.org, l.run.ID}, args...)...).Scan(&n)
	return n, err
}

// keepRejects keeps the rejects t that a FROM clause with its conditions names.
func (r *Run) keepRejects(ctx context.Context, tx pgx.Tx, from string, args ...any) error {
	_, err := tx.Exec(ctx, images.rejects.insert(from), append([]any{r.lease.org, r.ID}, args...)...)
	return err
}

// keptRuns is for how many of its newest runs an organisation has images: two days of hourly syncs, so that what a weekend brings can still be
// taken back on Monday. Only the newest change of a row can be undone anyway, and the images of a run take as much room as what it
// has changed.
const keptRuns = 50

// forgetImages drops the images of old runs, when a run ends.
func (r *Run) forgetImages(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `UPDATE ingest.runs SET images = false WHERE org_id = $1 AND images AND id IN (
		SELECT id FROM ingest.runs WHERE org_id = $1 AND started_at <= (
			SELECT started_at FROM ingest.runs WHERE org_id = $1 AND kind <> 'webhook' ORDER BY started_at DESC, id OFFSET $2 LIMIT 1)) RETURNING id`, r.lease.org, keptRuns)
	if err != nil {
		return err
	}
	old, err := collectUUIDs(rows)
	if err != nil || len(old) == 0 {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM ingest.before_images WHERE org_id = $1 AND run_id = ANY ($2)`, r.lease.org, old)
	return err
}

// keepBookmarks keeps how far the connection was synced, before that is changed.
func (r *Run) keepBookmarks(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO ingest.before_images (org_id, run_id, table_name, row_key, image)
		SELECT $1, $2, 'connections', '', jsonb_build_object('last_synced_at', last_synced_at, 'synced_to', synced_to) FROM ingest.connections WHERE org_id = $1
		ON CONFLICT DO NOTHING`, r.lease.org, r.ID)
	return err
}
