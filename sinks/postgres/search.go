package postgres

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// SearchQuery is what is looked for.
type SearchQuery struct {
	Text    string
	EndUser record.UUID // zero: of any end user
	Company record.UUID // zero: of any company
	Limit   int         // conversations; 0: 10
	Vector  []float32   // of Text, by the model that the rows' vectors are of; nil: words alone decide
}

// Hit is a conversation that was found. Its texts are those of rows that are within the scope that was asked for.
type Hit struct {
	Conversation record.UUID `json:"transcript_id"`
	SourceID     string      `json:"conversation"` // Intercom's id
	Title        string      `json:"title"`
	At           time.Time   `json:"at,omitzero"` // when the conversation began
	EndUser      record.UUID `json:"end_user_id,omitzero"`
	EndUserName  string      `json:"end_user,omitempty"` // name and address, as far as they are known
	Company      record.UUID `json:"company_id,omitzero"`
	CompanyName  string      `json:"company,omitempty"`
	Score        float64     `json:"score"` // the higher the better; comparable within one search only
	Records      []HitRecord `json:"records"`
}

// HitRecord is a record of knowledge that fits, best first.
type HitRecord struct {
	ID       record.UUID `json:"id"`
	Key      string      `json:"key"`
	Kind     string      `json:"kind"`
	Snippet  string      `json:"snippet"`
	Messages []string    `json:"messages"` // Intercom's ids of what it rests on
	Quotes   []Citation  `json:"quotes,omitempty"`
}

// Citation is a quote of a message. Start and End are characters of its text.
type Citation struct {
	MessageID string `json:"message_id"`
	Speaker   string `json:"speaker"`
	Text      string `json:"text"`
	Start     int    `json:"start"`
	End       int    `json:"end"`
}

// The ranking is BM25 over a conversation's words, each counted by whose it is; see the migration for the letters. The weights were chosen once, by
// searching real dialogues for what people wrote about them; none of them moves that by more than a hundredth.
const (
	weightOf     = `CASE w.weight WHEN 'A' THEN 1.0 WHEN 'B' THEN 0.6 ELSE 0.5 END`
	saturation   = 1.2
	lengthShare  = 0.75
	usualLimit   = 10
	mostLimit    = 1000
	sampleSize   = 2000 // documents by which the frequency of words is judged; they are in the order of ids, which is that of no property
	mostScored   = 3000 // documents that are scored: those with the rarest words asked for
	mostTerms    = 64
	recordsShown = 3
)

// Search finds the conversations of org whose knowledge fits best, after bringing the index in line. The scope holds inside the query:
// no row of another customer is read for a result.
func (db *DB) Search(ctx context.Context, org record.UUID, q SearchQuery) ([]Hit, error) {
	if _, err := db.IndexKnowledge(ctx, org); err != nil {
		return nil, err
	}
	hits, err := db.search(ctx, org, q)
	return hits, wrap(ctx, err, "search the knowledge")
}

func (db *DB) search(ctx context.Context, org record.UUID, q SearchQuery) (hits []Hit, err error) {
	if q.Limit <= 0 {
		q.Limit = usualLimit
	}
	q.Limit = min(q.Limit, mostLimit)
	err = db.snapshot(ctx, func(tx pgx.Tx) error {
		s := search{tx: tx, org: org, q: q}
		if err := s.prepare(ctx); err != nil {
			return err
		}
		list, err := s.rank(ctx)
		if err != nil {
			return err
		}
		if len(q.Vector) > 0 && (len(list) == 0 || list[0].share < fuseBelow) {
			vectors, err := s.near(ctx)
			if err != nil {
				return err
			}
			if len(vectors) > 0 {
				list = fuse(list, vectors, q.Limit)
			}
		}
		hits, err = s.show(ctx, list)
		return err
	})
	return hits, err
}

// snapshot runs f on one state of the database, without changing it.
func (db *DB) snapshot(ctx context.Context, f func(pgx.Tx) error) error {
	return db.retry(ctx, "read", func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			// A plan for any scope would read everything, in case it were asked for; compiling one takes longer than the search.
			if _, err := tx.Exec(ctx, `SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off`); err != nil {
				return err
			}
			return f(tx)
		})
	})
}

// term is a word of the query as a language's documents have it.
type term struct {
	language, lexeme string
	idf              float64
	seen             float64 // the share of documents that have it
}

// ranked is a transcript with its score.
type ranked struct {
	id    record.UUID
	score float64
	share float64 // of the words asked for that it has, by weight
}

// sortRanked puts the best first; of equal ones the order stays.
func sortRanked(list []ranked) {
	slices.SortStableFunc(list, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
}

// search is one search, in one snapshot of the database.
type search struct {
	tx        pgx.Tx
	org       record.UUID
	q         SearchQuery
	terms     []term
	documents int64
	size      float64
	people    []record.UUID // end users whose address is in the query
	firms     []record.UUID // companies whose name is
}

func (s *search) scope() (endUser, company *record.UUID) {
	if !s.q.EndUser.IsZero() {
		endUser = &s.q.EndUser
	}
	if !s.q.Company.IsZero() {
		company = &s.q.Company
	}
	return endUser, company
}

// prepare takes the query apart.
func (s *search) prepare(ctx context.Context) error {
	var languages []string
	err := s.tx.QueryRow(ctx, `SELECT languages, documents, size FROM ingest.search_state WHERE org_id = $1`, s.org).Scan(&languages, &s.documents, &s.size)
	if err == pgx.ErrNoRows || err == nil && s.documents == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	rows, err := s.tx.Query(ctx, `WITH asked AS (
			SELECT l.language, u.lexeme, quote_literal(u.lexeme)::tsquery AS one FROM unnest($2::text[]) AS l(language), unnest(to_tsvector(l.language::regconfig, $3)) AS u
		), sample AS MATERIALIZED (
			SELECT language, words FROM ingest.search_documents WHERE org_id = $1 ORDER BY org_id, transcript_id, part LIMIT $4
		)
		SELECT a.language, a.lexeme, (SELECT count(*) FROM sample s WHERE s.words @@ a.one), (SELECT count(*) FROM sample) FROM asked a
		ORDER BY a.language, a.lexeme`, s.org, languages, searchable(clip(s.q.Text, 8<<10)), sampleSize)
	if err != nil {
		return err
	}
	var t term
	var have, of float64
	if _, err := pgx.ForEachRow(rows, []any{&t.language, &t.lexeme, &have, &of}, func() error {
		t.seen = (have + 0.5) / (of + 1)
		t.idf = math.Log(1 + (of-have+0.5)/(have+0.5))
		s.terms = append(s.terms, t)
		return nil
	}); err != nil {
		return err
	}
	return s.name(ctx)
}

// name finds the people and companies that the query names.
func (s *search) name(ctx context.Context) error {
	text := strings.ToLower(strings.Join(strings.Fields(s.q.Text), " "))
	var addresses []string
	for word := range strings.FieldsSeq(text) {
		if strings.Contains(word, "@") {
			addresses = append(addresses, strings.Trim(word, `.,;:!?"'()<>[]`))
		}
	}
	var err error
	if len(addresses) > 0 {
		if s.people, err = ids(s.tx.Query(ctx, `SELECT id FROM public.end_users WHERE org_id = $1 AND lower(btrim(email)) = ANY ($2) LIMIT 1000`, s.org, addresses)); err != nil {
			return err
		}
	}
	// A name of one or two letters stands in any text.
	s.firms, err = ids(s.tx.Query(ctx, `SELECT id FROM public.companies WHERE org_id = $1 AND length(btrim(name)) >= 3
		AND position(' ' || lower(btrim(name)) || ' ' IN ' ' || translate($2, '.,;:!?"()', '         ') || ' ') > 0 LIMIT 1000`, s.org, text))
	return err
}

func ids(rows pgx.Rows, err error) ([]record.UUID, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (id record.UUID, err error) {
		err = row.Scan((*[16]byte)(&id))
		return id, err
	})
}

// asked returns, for each language, the words that documents must have one of: all of them, or as many of the rarest as the number of documents
// that can be scored allows.
func (s *search) asked() (languages, queries []string) {
	rarest := slices.Clone(s.terms)
	slices.SortStableFunc(rarest, func(a, b term) int { return cmp.Compare(a.seen, b.seen) })
	left := float64(mostScored)
	words := make(map[string][]string)
	taken := 0
	for _, t := range rarest {
		left -= t.seen * float64(s.documents)
		if taken > 0 && left < 0 || taken == mostTerms {
			break
		}
		taken++
		words[t.language] = append(words[t.language], "'"+strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(t.lexeme)+"'")
	}
	mark := "'" + orgMark(s.org) + "'"
	for language, list := range words {
		languages = append(languages, language)
		queries = append(queries, mark+" & ("+strings.Join(list, " | ")+")")
	}
	return languages, queries
}

// rank scores documents by their words and by whom they belong to.
func (s *search) rank(ctx context.Context) ([]ranked, error) {
	languages, queries := s.asked()
	endUser, company := s.scope()
	var of, lexemes []string
	var idf []float64
	for _, t := range s.terms {
		of, lexemes, idf = append(of, t.language), append(lexemes, t.lexeme), append(idf, t.idf)
	}
	// Who is named counts as much as the rarest word; a company as much as its share of the conversations makes it.
	named := math.Log(1 + float64(s.documents))
	rows, err := s.tx.Query(ctx, `WITH term AS (SELECT * FROM unnest($6::text[], $7::text[], $8::float8[]) AS t(language, lexeme, idf)),
		own AS MATERIALIZED (
			SELECT t.id, t.end_user_id, t.company_id FROM public.transcripts t
			WHERE t.org_id = $1 AND ($2::uuid IS NULL OR t.end_user_id = $2) AND ($3::uuid IS NULL OR t.company_id = $3)
				AND ($2::uuid IS NOT NULL OR $3::uuid IS NOT NULL OR t.end_user_id = ANY ($9) OR t.company_id = ANY ($10))
		), candidate AS MATERIALIZED (
			SELECT d.transcript_id, d.part, d.language, d.words, d.size FROM unnest($4::text[], $5::text[]) AS q(language, query)
				JOIN ingest.search_documents d ON d.org_id = $1 AND d.language = q.language AND d.words @@ q.query::tsquery
			WHERE $2::uuid IS NULL AND $3::uuid IS NULL OR d.transcript_id IN (SELECT id FROM own)
		), scored AS (
			SELECT c.transcript_id, f.score, f.weight FROM candidate c, LATERAL (
				SELECT sum(t.idf) AS weight, sum(t.idf * w.tf * ($11 + 1) / (w.tf + $11 * (1 - $12::float8 + $12 * c.size / $13))) AS score
				FROM (SELECT u.lexeme, (SELECT sum(`+weightOf+`)::float8 FROM unnest(u.weights) AS w(weight)) AS tf
					FROM unnest(c.words) AS u WHERE u.lexeme = ANY ($7) OFFSET 0) AS w
				JOIN term t ON t.lexeme = w.lexeme AND t.language = c.language) AS f
		), best AS (SELECT transcript_id, max(score) AS score, max(weight) AS weight FROM scored GROUP BY 1),
		named AS (
			SELECT o.id, greatest(CASE WHEN o.end_user_id = ANY ($9) THEN $14::float8 ELSE 0 END,
				CASE WHEN o.company_id = ANY ($10) THEN ln(1 + $15::float8 / count(*) OVER ()) ELSE 0 END) AS bonus
			FROM own o WHERE o.end_user_id = ANY ($9) OR o.company_id = ANY ($10)
		)
		SELECT r.id, r.score, r.weight FROM (
			SELECT coalesce(b.transcript_id, n.id) AS id, coalesce(b.score, 0) + coalesce(n.bonus, 0) AS score, coalesce(b.weight, 0) AS weight
			FROM best b FULL JOIN named n ON n.id = b.transcript_id) AS r
		JOIN public.transcripts t ON t.org_id = $1 AND t.id = r.id
		WHERE ($2::uuid IS NULL OR t.end_user_id = $2) AND ($3::uuid IS NULL OR t.company_id = $3) AND t.deleted_at IS NULL
		ORDER BY r.score DESC, t.started_at DESC NULLS LAST, r.id LIMIT $16`,
		s.org, endUser, company, languages, queries, of, lexemes, idf, s.people, s.firms, saturation, lengthShare, s.size, named, s.documents, s.q.Limit)
	if err != nil {
		return nil, err
	}
	total := make(map[string]float64)
	most := 0.0
	for _, t := range s.terms {
		total[t.language] += t.idf
		most = max(most, total[t.language])
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ranked, err error) {
		err = row.Scan((*[16]byte)(&r.id), &r.score, &r.share)
		r.share /= max(most, 1)
		return r, err
	})
}
