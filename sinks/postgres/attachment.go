package postgres

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// keepAttachments stores what became of the files of the batch's objects, except of those that came in a state that was not taken. A file
// that was saved stays so, as long as the object names the same address.
func (l *loader) keepAttachments(ctx context.Context, list []record.ObjectAttachments, items []*item) error {
	if len(list) == 0 {
		return nil
	}
	old := make(map[key]bool)
	for _, it := range items {
		if k := (key{it.change.Kind, it.change.SourceID}); it.outcome == stale {
			old[k] = true
		}
	}
	taken := list[:0:0]
	for _, o := range list {
		if !old[key{o.Kind, o.SourceID}] {
			taken = append(taken, o)
		}
	}
	return saveAttachments(ctx, l.tx, l.org, l.run.ID, taken)
}

func saveAttachments(ctx context.Context, tx pgx.Tx, org, run record.UUID, list []record.ObjectAttachments) error {
	var kinds, ids, wholeKinds, wholeIDs, messages, urls, names, types, paths, sums, reasons []string
	var places []int32
	var sizes, bytes []int64
	var retries []bool
	for _, o := range list {
		id := record.CleanText(o.SourceID)
		if o.Whole {
			wholeKinds, wholeIDs = append(wholeKinds, string(o.Kind)), append(wholeIDs, id)
		}
		for _, f := range o.Files {
			if f.N < 0 || f.N > math.MaxInt32 {
				return invariant("file %d of message %s of %s %s has no place", f.N, f.MessageID, o.Kind, o.SourceID)
			}
			kinds, ids = append(kinds, string(o.Kind)), append(ids, id)
			messages, places = append(messages, record.CleanText(f.MessageID)), append(places, int32(f.N))
			urls, names, types = append(urls, record.CleanText(f.URL)), append(names, record.CleanText(f.Name)), append(types, record.CleanText(f.ContentType))
			sizes, paths, bytes = append(sizes, f.Size), append(paths, f.Path), append(bytes, f.Bytes)
			sums, reasons, retries = append(sums, f.SHA256), append(reasons, clip(record.CleanText(f.Error), maxRejectReason)), append(retries, f.Retry)
		}
	}
	if len(wholeIDs) > 0 {
		_, err := tx.Exec(ctx, `DELETE FROM ingest.attachments a USING unnest($2::text[], $3::text[]) AS k(kind, id)
			WHERE a.org_id = $1 AND a.kind = k.kind AND a.source_id = k.id AND NOT EXISTS (
				SELECT FROM unnest($4::text[], $5::text[], $6::text[], $7::int[]) AS n(kind, id, message, place)
				WHERE n.kind = a.kind AND n.id = a.source_id AND n.message = a.message_id AND n.place = a.n)`,
			org, wholeKinds, wholeIDs, kinds, ids, messages, places)
		if err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		return nil
	}
	// What differs is written; what is the same is not, so that a second run writes nothing.
	_, err := tx.Exec(ctx, `INSERT INTO ingest.attachments AS a
			(org_id, kind, source_id, message_id, n, url, name, content_type, size, path, bytes, sha256, error, retry, run_id, updated_at)
		SELECT $1, k.kind, k.id, k.message, k.place, k.url, k.name, k.type, k.size, nullif(k.path, ''),
			CASE WHEN k.path <> '' THEN k.bytes END, CASE WHEN k.path <> '' THEN k.sum END, nullif(k.error, ''), k.retry, $2, clock_timestamp()
		FROM (SELECT DISTINCT ON (kind, id, message, place) *
			FROM unnest($3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::text[], $12::bigint[],
				$13::text[], $14::text[], $15::boolean[]) WITH ORDINALITY AS k(kind, id, message, place, url, name, type, size, path, bytes, sum, error, retry, i)
			ORDER BY kind, id, message, place, i DESC) k
		ON CONFLICT (org_id, kind, source_id, message_id, n) DO UPDATE SET url = excluded.url, name = excluded.name, content_type = excluded.content_type,
			size = excluded.size, path = excluded.path, bytes = excluded.bytes, sha256 = excluded.sha256, error = excluded.error, retry = excluded.retry,
			run_id = excluded.run_id, updated_at = excluded.updated_at
		WHERE (a.path IS NULL OR excluded.path IS NOT NULL OR a.url <> excluded.url)
			AND (a.url, a.name, a.content_type, a.size, a.path, a.bytes, a.sha256, a.error, a.retry) IS DISTINCT FROM
				(excluded.url, excluded.name, excluded.content_type, excluded.size, excluded.path, excluded.bytes, excluded.sha256, excluded.error, excluded.retry)`,
		org, run, kinds, ids, messages, places, urls, names, types, sizes, paths, bytes, sums, reasons, retries)
	return err
}

// SaveAttachments stores what became of the files of objects outside of a batch, under the run's lease; a batch brings its own (see record.ObjectAttachments).
// A file that was saved stays so as long as the object names the same address.
func (r *Run) SaveAttachments(ctx context.Context, list []record.ObjectAttachments) error {
	if len(list) == 0 {
		return nil
	}
	return r.guarded(ctx, fmt.Sprintf("keep the attachments of %d objects", len(list)), func(tx pgx.Tx) error {
		return saveAttachments(ctx, tx, r.lease.org, r.ID, list)
	})
}

// Attachment is one file that a conversation or ticket names, with what became of it.
type Attachment struct {
	Kind        record.Kind `json:"kind"`
	SourceID    string      `json:"source_id"`  // of the conversation or ticket
	MessageID   string      `json:"message_id"` // "ticket_attributes.NAME" for an attribute
	N           int         `json:"n"`          // its place in the message; from record.InlineBase on, in its text
	URL         string      `json:"url"`        // without its signed query
	Name        string      `json:"name"`
	ContentType string      `json:"content_type"`
	Size        int64       `json:"size"`     // as Intercom says; 0: it does not
	Gone        bool        `json:"gone"`     // the conversation or ticket is marked deleted
	Known       bool        `json:"known"`    // a run with --attachments has asked for it
	Path        string      `json:"path"`     // below the folder of attachments; "": not saved
	Bytes       int64       `json:"bytes"`    // of the saved file
	SHA256      string      `json:"sha256"`   // of the saved file
	Error       string      `json:"error"`    // why it is not saved
	Retry       bool        `json:"retry"`    // trying again may help
	SavedAt     time.Time   `json:"saved_at"` // when that became known; zero if nothing did
}

// attachmentPage is how many conversations or tickets are read at a time; attachmentShown are the columns of an Attachment.
const (
	attachmentPage  = 500
	attachmentShown = `coalesce(a.path, ''), coalesce(a.bytes, 0), coalesce(a.sha256, ''), coalesce(a.error, ''), coalesce(a.retry, false), a.updated_at`
)

// inventorySQL lists the files that rows of a table name, in pages of rows: all of their messages' attachments, as far as anything is saved of them, and
// what else is known of their objects (inline files, files in attributes). The last row of a page ends it even if it names no file.
func (db *DB) inventorySQL(table string) string {
	from := "public." + table
	if db.scoped {
		from = ownView(filesOf(table))
	}
	kind := string(record.KindTicket)
	if table == "transcripts" {
		kind = string(record.KindConversation)
	}
	return `WITH page AS MATERIALIZED (SELECT t.id, t.source_id, t.deleted_at, t.messages FROM ` + from + ` t
			WHERE t.org_id = $1 AND t.id > $2 ORDER BY t.id LIMIT $3),
		named AS (SELECT p.id, p.source_id, p.deleted_at IS NOT NULL AS gone, coalesce(m.value->>'id', '') AS message_id, (f.i - 1)::int AS n, coalesce(f.value->>'url', '') AS url,
				coalesce(f.value->>'name', '') AS name, coalesce(f.value->>'content_type', '') AS content_type,
				CASE WHEN jsonb_typeof(f.value->'size') = 'number' THEN greatest(least((f.value->>'size')::numeric, 9e18), 0)::bigint ELSE 0 END AS size
			FROM page p CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(p.messages) = 'array' THEN p.messages ELSE '[]' END) AS m(value)
				CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(m.value->'attachments') = 'array' THEN m.value->'attachments' ELSE '[]' END) WITH ORDINALITY AS f(value, i)
			WHERE p.source_id IS NOT NULL)
		SELECT n.id, n.source_id, n.gone, n.message_id, n.n, n.url, n.name, n.content_type, n.size, a.org_id IS NOT NULL, ` + attachmentShown + `
		FROM named n LEFT JOIN ingest.attachments a ON a.org_id = $1 AND a.kind = '` + kind + `' AND a.source_id = n.source_id
			AND a.message_id = n.message_id AND a.n = n.n AND a.url = n.url
		UNION ALL
		SELECT p.id, p.source_id, p.deleted_at IS NOT NULL, a.message_id, a.n, a.url, a.name, a.content_type, a.size, true, ` + attachmentShown + `
		FROM page p JOIN ingest.attachments a ON a.org_id = $1 AND a.kind = '` + kind + `' AND a.source_id = p.source_id
		WHERE NOT EXISTS (SELECT FROM named n WHERE n.source_id = a.source_id AND n.message_id = a.message_id AND n.n = a.n)
		UNION ALL
		(SELECT p.id, NULL, false, '', 0, '', '', '', 0, false, '', 0, '', '', false, NULL FROM page p ORDER BY p.id DESC LIMIT 1)
		ORDER BY 1, 4 NULLS LAST, 5`
}

// Attachments yields every file that the conversations and tickets of org name, with what became of it: the inventory. Conversations come first, each kind in the
// order of its rows' ids. It reads the tables page by page, in bounded memory, and stops after yielding an error.
func (db *DB) Attachments(ctx context.Context, org record.UUID) iter.Seq2[Attachment, error] {
	return func(yield func(Attachment, error) bool) {
		for _, kind := range []record.Kind{record.KindConversation, record.KindTicket} {
			var after record.UUID
			for {
				list, last, err := db.attachmentPage(ctx, org, kind, after)
				if err != nil {
					yield(Attachment{}, err)
					return
				}
				for _, a := range list {
					if !yield(a, nil) {
						return
					}
				}
				if last == after {
					break
				}
				after = last
			}
		}
	}
}

func (db *DB) attachmentPage(ctx context.Context, org record.UUID, kind record.Kind, after record.UUID) (list []Attachment, last record.UUID, err error) {
	rows, err := db.pool.Query(ctx, db.inventorySQL(kind.Table()), org, after, attachmentPage)
	if err != nil {
		return nil, last, wrap(ctx, err, "list attachments of %s", kind.Stream())
	}
	last = after
	var source *string
	var saved *time.Time
	var id [16]byte
	a := Attachment{Kind: kind}
	_, err = pgx.ForEachRow(rows, []any{&id, &source, &a.Gone, &a.MessageID, &a.N, &a.URL, &a.Name, &a.ContentType, &a.Size, &a.Known,
		&a.Path, &a.Bytes, &a.SHA256, &a.Error, &a.Retry, &saved}, func() error {
		last = id
		if source == nil {
			return nil
		}
		a.SourceID, a.SavedAt = *source, orZero(saved)
		list = append(list, a)
		return nil
	})
	return list, last, wrap(ctx, err, "list attachments of %s", kind.Stream())
}

// AttachmentTotals sums an inventory up. Files of deleted conversations and tickets, which Intercom gives no more, are in Gone unless they are saved.
type AttachmentTotals struct {
	Files      int64 `json:"files"` // all
	Saved      int64 `json:"saved"`
	SavedBytes int64 `json:"saved_bytes"`
	Failed     int64 `json:"failed"`  // asked for and not saved
	Unasked    int64 `json:"unasked"` // never asked for
	Gone       int64 `json:"gone"`
	Bytes      int64 `json:"bytes"` // of those that are not saved nor gone, as far as Intercom states them
}

// AttachmentTotals reads the whole inventory. Files = Saved + Failed + Unasked + Gone.
func (db *DB) AttachmentTotals(ctx context.Context, org record.UUID) (AttachmentTotals, error) {
	var t AttachmentTotals
	for a, err := range db.Attachments(ctx, org) {
		if err != nil {
			return t, err
		}
		t.Files++
		switch {
		case a.Path != "":
			t.Saved++
			t.SavedBytes += a.Bytes
			continue
		case a.Gone:
			t.Gone++
			continue
		case a.Known:
			t.Failed++
		default:
			t.Unasked++
		}
		t.Bytes += a.Size
	}
	return t, nil
}
