package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// The index of knowledge is made after loading, not by it: a full-text index on public.knowledge would cost every load of every row,
// for searches that come later or never. One document stands for a conversation, and what it was made from is kept with it, so that
// the next search, or IndexKnowledge, knows what to make again. Documents only find conversations; whatever is shown, and whose it
// is, is read from the rows themselves.

const (
	indexBatch = 500
	// documentSize bounds the bytes of a document: a tsvector ends at 1 MiB, and has 256 positions of a word at most.
	documentSize = 200 << 10
	maxParts     = 1000
)

// IndexReport is what IndexKnowledge did.
type IndexReport struct {
	Made    int64         `json:"made"`    // conversations whose knowledge is new or has changed
	Removed int64         `json:"removed"` // conversations that have no knowledge any more
	Took    time.Duration `json:"took_ns"`
}

// IndexKnowledge brings the full-text index of org in line with its knowledge. What is in line already is not touched; where no run has
// committed anything since the last time, it costs one small query. It may be called while a run is going on and by several at once.
func (db *DB) IndexKnowledge(ctx context.Context, org record.UUID) (IndexReport, error) {
	begin := time.Now()
	report, err := db.indexKnowledge(ctx, org)
	report.Took = time.Since(begin)
	return report, wrap(ctx, err, "index the knowledge")
}

func (db *DB) indexKnowledge(ctx context.Context, org record.UUID) (r IndexReport, err error) {
	// Read first: what is committed while this works belongs to the next time.
	token, kept, err := db.indexToken(ctx, org)
	if err != nil || token == kept {
		return r, err
	}
	ids, err := db.staleDocuments(ctx, org)
	if err != nil {
		return r, err
	}
	languages := make(map[string]bool)
	for batch := range slices.Chunk(ids, indexBatch) {
		docs, err := db.readDocuments(ctx, org, batch)
		if err != nil {
			return r, err
		}
		for i := range docs {
			languages[docs[i].language] = true
		}
		if err := db.writeDocuments(ctx, org, docs); err != nil {
			return r, err
		}
		r.Made += int64(len(batch))
	}
	tag, err := db.pool.Exec(ctx, `DELETE FROM ingest.search_documents d WHERE d.org_id = $1
		AND NOT EXISTS (SELECT FROM public.knowledge k WHERE k.org_id = $1 AND k.transcript_id = d.transcript_id)`, org)
	if err != nil {
		return r, err
	}
	r.Removed = tag.RowsAffected()
	var names []string
	for name := range languages {
		names = append(names, name)
	}
	_, err = db.pool.Exec(ctx, `INSERT INTO ingest.search_state AS s (org_id, token, languages, documents, size)
			SELECT $1, $2, coalesce($3::text[], '{}'), count(*), greatest(coalesce(avg(size), 0), 1) FROM ingest.search_documents WHERE org_id = $1
		ON CONFLICT (org_id) DO UPDATE SET token = excluded.token, updated_at = now(), documents = excluded.documents, size = excluded.size,
			languages = (SELECT coalesce(array_agg(DISTINCT l ORDER BY l), '{}') FROM unnest(s.languages || excluded.languages) AS l)`, org, token, names)
	return r, err
}

// indexToken returns what stands for all that runs have committed so far, and what it was when the index was last brought in line.
func (db *DB) indexToken(ctx context.Context, org record.UUID) (token, kept string, err error) {
	err = db.pool.QueryRow(ctx, `SELECT
		(SELECT count(*) || ' ' || coalesce(sum(seq), 0) || ' ' || coalesce(max(updated_at)::text, '') FROM ingest.checkpoints WHERE org_id = $1)
			|| ' ' || (SELECT count(*) || ' ' || coalesce(max(undone_at)::text, '') FROM ingest.runs WHERE org_id = $1),
		coalesce((SELECT token FROM ingest.search_state WHERE org_id = $1), '')`, org).Scan(&token, &kept)
	return token, kept, err
}

// staleDocuments lists the transcripts that have knowledge other than what their document was made from.
func (db *DB) staleDocuments(ctx context.Context, org record.UUID) ([]record.UUID, error) {
	rows, err := db.pool.Query(ctx, `SELECT t.id FROM public.transcripts t WHERE t.org_id = $1 AND t.knowledge_hash IS NOT NULL
		AND NOT EXISTS (SELECT FROM ingest.search_documents d WHERE d.org_id = $1 AND d.transcript_id = t.id AND d.part = 0 AND d.knowledge_hash = t.knowledge_hash)
		AND EXISTS (SELECT FROM public.knowledge k WHERE k.org_id = $1 AND k.transcript_id = t.id)
		ORDER BY t.id`, org)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (id record.UUID, err error) {
		err = row.Scan((*[16]byte)(&id))
		return id, err
	})
}

// document is what is searched of a conversation, by whose words they are.
type document struct {
	transcript record.UUID
	part       int
	hash       []byte
	language   string
	customer   strings.Builder
	distilled  strings.Builder
	rest       strings.Builder
}

func (d *document) size() int { return d.customer.Len() + d.distilled.Len() + d.rest.Len() }

// readDocuments reads the transcripts' knowledge as it is now, in one statement, so that hash and texts belong together. Children are
// parts of their parents.
func (db *DB) readDocuments(ctx context.Context, org record.UUID, ids []record.UUID) ([]*document, error) {
	rows, err := db.pool.Query(ctx, `SELECT t.id, t.knowledge_hash, k.kind, k.content FROM unnest($2::uuid[]) AS i(id)
		JOIN public.transcripts t ON t.org_id = $1 AND t.id = i.id
		JOIN public.knowledge k ON k.org_id = $1 AND k.transcript_id = t.id
		WHERE k.kind <> 'child' ORDER BY t.id, k.kind <> 'parent', k.chunk_index, k.key`, org, ids)
	if err != nil {
		return nil, err
	}
	var docs []*document
	var d *document
	var id record.UUID
	var hash []byte
	var kind, content string
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), &hash, &kind, &content}, func() error {
		switch {
		case d == nil || d.transcript != id:
			d = &document{transcript: id, hash: slices.Clone(hash)}
			docs = append(docs, d)
		case d.size()+len(content) > documentSize && d.part+1 < maxParts:
			d = &document{transcript: id, hash: d.hash, part: d.part + 1}
			docs = append(docs, d)
		}
		if kind == record.KnowledgeParent {
			d.addParent(content)
		} else {
			d.distilled.WriteString(content + "\n")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		d.language = languageOf(d.customer.String() + "\n" + d.rest.String())
	}
	return docs, nil
}

// addParent takes a parent chunk apart: its header, what the customer says, what agents say.
func (d *document) addParent(content string) {
	head, body, found := strings.Cut(content, "\n\n")
	if !found || !isHeader(head) {
		head, body = "", content
	}
	if d.part == 0 && d.customer.Len() == 0 { // each parent repeats it
		for line := range strings.Lines(head) {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "Subject":
				d.customer.WriteString(value + "\n")
			case "Customer", "Company":
				d.rest.WriteString(value + "\n")
			}
		}
	}
	to := &d.rest
	for line := range strings.Lines(body) {
		if label, text, ok := strings.Cut(line, ": "); ok {
			switch {
			case label == "Customer" || label == "Customer, continued":
				to, line = &d.customer, text
			case label == "Agent" || strings.HasPrefix(label, "Agent (") || strings.HasPrefix(label, "Agent, continued"):
				to, line = &d.rest, text
			}
		}
		to.WriteString(line)
	}
	to.WriteByte('\n')
}

func isHeader(head string) bool {
	for line := range strings.Lines(head) {
		name, _, ok := strings.Cut(line, ": ")
		if !ok || !slices.Contains([]string{"Customer", "Company", "Subject", "Date"}, name) {
			return false
		}
	}
	return true
}

// writeDocuments replaces the documents of the transcripts that docs are of.
func (db *DB) writeDocuments(ctx context.Context, org record.UUID, docs []*document) error {
	n := len(docs)
	ids, last := make([]record.UUID, n), make(map[record.UUID]int32, n)
	parts, hashes, languages := make([]int32, n), make([][]byte, n), make([]string, n)
	customer, distilled, rest := make([]string, n), make([]string, n), make([]string, n)
	for i, d := range docs {
		ids[i], parts[i], hashes[i], languages[i] = d.transcript, int32(d.part), d.hash, d.language
		customer[i], distilled[i], rest[i] = searchable(d.customer.String()), searchable(d.distilled.String()), searchable(d.rest.String())
		last[d.transcript] = max(last[d.transcript], int32(d.part))
	}
	return db.inTx(ctx, func(tx pgx.Tx) error {
		var ends []record.UUID
		var most []int32
		for id, part := range last {
			ends, most = append(ends, id), append(most, part)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM ingest.search_documents d USING unnest($2::uuid[], $3::int[]) AS l(id, part)
			WHERE d.org_id = $1 AND d.transcript_id = l.id AND d.part > l.part`, org, ends, most); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO ingest.search_documents (org_id, transcript_id, part, knowledge_hash, language, words, size)
			SELECT $1, n.id, n.part, n.hash, n.language, v.words || array_to_tsvector(ARRAY[$9::text]),
				(SELECT coalesce(sum(`+weightOf+`), 0) FROM unnest(v.words) AS u, unnest(u.weights) AS w(weight))
			FROM unnest($2::uuid[], $3::int[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[]) AS n(id, part, hash, language, customer, distilled, rest),
				LATERAL (SELECT setweight(to_tsvector(n.language::regconfig, n.customer), 'A')
					|| setweight(to_tsvector(n.language::regconfig, n.distilled), 'B')
					|| setweight(to_tsvector(n.language::regconfig, n.rest), 'C') AS words OFFSET 0) AS v
			ORDER BY n.id, n.part
			ON CONFLICT (org_id, transcript_id, part) DO UPDATE
				SET knowledge_hash = excluded.knowledge_hash, language = excluded.language, words = excluded.words, size = excluded.size`,
			org, ids, parts, hashes, languages, customer, distilled, rest, orgMark(org))
		return err
	})
}

// orgMark is a word that all documents of an organisation have and no text can: the index finds the organisation's own with it, however many others
// share the table.
func orgMark(org record.UUID) string { return fmt.Sprintf("org %s", org) }
