package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// headline is how a snippet is cut out of a record.
const headline = `MaxFragments=1, MaxWords=45, MinWords=15, ShortWord=2, FragmentDelimiter=" … ", StartSel="", StopSel=""`

// show reads what is shown of the conversations: whose they are, and of each the records that fit best. The scope is asked for again, of
// the records themselves.
func (s *search) show(ctx context.Context, list []ranked) ([]Hit, error) {
	hits := make([]Hit, len(list))
	places := make(map[record.UUID]int, len(list))
	transcripts := make([]record.UUID, len(list))
	for i, r := range list {
		hits[i] = Hit{Conversation: r.id, Score: r.score, Records: []HitRecord{}}
		places[r.id], transcripts[i] = i, r.id
	}
	if err := s.showOwners(ctx, hits, places, transcripts); err != nil {
		return nil, err
	}
	if err := s.showRecords(ctx, hits, places, transcripts); err != nil {
		return nil, err
	}
	kept := hits[:0]
	for _, h := range hits {
		if len(h.Records) > 0 { // what has no knowledge is no knowledge
			kept = append(kept, h)
		}
	}
	return kept, nil
}

func (s *search) showOwners(ctx context.Context, hits []Hit, places map[record.UUID]int, transcripts []record.UUID) error {
	rows, err := s.tx.Query(ctx, `SELECT t.id, t.source_id, t.started_at, t.end_user_id, concat_ws(' ', nullif(e.name, ''), '<' || nullif(e.email, '') || '>'), t.company_id,
			coalesce(c.name, '')
		FROM public.transcripts t LEFT JOIN public.end_users e ON e.org_id = $1 AND e.id = t.end_user_id
			LEFT JOIN public.companies c ON c.org_id = $1 AND c.id = t.company_id
		WHERE t.org_id = $1 AND t.id = ANY ($2)`, s.org, transcripts)
	if err != nil {
		return err
	}
	var id record.UUID
	var source, name, firm string
	var at *time.Time
	var user, company *[16]byte
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), &source, &at, &user, &name, &company, &firm}, func() error {
		h := &hits[places[id]]
		h.SourceID, h.EndUserName, h.CompanyName = source, name, firm
		if at != nil {
			h.At = *at
		}
		if user != nil {
			h.EndUser = *user
		}
		if company != nil {
			h.Company = *company
		}
		return nil
	})
	return err
}

// showRecords adds to each conversation its records that fit best; of equal ones distilled ones first.
func (s *search) showRecords(ctx context.Context, hits []Hit, places map[record.UUID]int, transcripts []record.UUID) error {
	words := make(map[string][]string)
	for _, t := range s.terms {
		words[t.language] = append(words[t.language], "'"+strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(t.lexeme)+"'")
	}
	languages, queries := []string{}, []string{}
	for language, list := range words {
		languages, queries = append(languages, language), append(queries, strings.Join(list, " | "))
	}
	endUser, company := s.scope()
	rows, err := s.tx.Query(ctx, `SELECT x.transcript_id, x.id, x.key, x.kind, coalesce(x.title, ''),
			CASE WHEN length(x.content) <= 320 THEN x.content WHEN x.query IS NULL THEN left(x.content, 320) ELSE ts_headline(x.language::regconfig, x.content, x.query, $6) END, x.source_message_ids, x.metadata
		FROM (SELECT k.*, l.language, l.query, row_number() OVER (PARTITION BY k.transcript_id
				ORDER BY ts_rank(to_tsvector(l.language::regconfig, lower(k.content)), l.query, 1) DESC NULLS LAST, k.kind = 'child', k.chunk_index, k.key) AS place
			FROM unnest($2::uuid[]) AS i(id)
				JOIN public.knowledge k ON k.org_id = $1 AND k.transcript_id = i.id AND k.kind <> 'parent'
				JOIN ingest.search_documents d ON d.org_id = $1 AND d.transcript_id = i.id AND d.part = 0
				LEFT JOIN (SELECT language, query::tsquery FROM unnest($3::text[], $4::text[]) AS q(language, query)) AS l ON l.language = d.language
			WHERE ($7::uuid IS NULL OR k.end_user_id = $7) AND ($8::uuid IS NULL OR k.company_id = $8) AND k.deleted_at IS NULL) AS x
		WHERE x.place <= $5 ORDER BY x.transcript_id, x.place`, s.org, transcripts, languages, queries, recordsShown, headline, endUser, company)
	if err != nil {
		return err
	}
	var id record.UUID
	var r HitRecord
	var title string
	var metadata []byte
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), (*[16]byte)(&r.ID), &r.Key, &r.Kind, &title, &r.Snippet, &r.Messages, &metadata}, func() error {
		quotes, err := quotesOf(metadata)
		if err != nil {
			return fmt.Errorf("knowledge %s: %w", r.ID, err)
		}
		h := &hits[places[id]]
		h.Title = title
		r.Snippet, r.Quotes = strings.TrimSpace(r.Snippet), quotes
		h.Records = append(h.Records, r)
		r.Messages = nil
		return nil
	})
	return err
}

// quotesOf reads the citations in a record's metadata.
func quotesOf(metadata []byte) ([]Citation, error) {
	if len(metadata) == 0 {
		return nil, nil
	}
	var m struct {
		Quotes []Citation `json:"quotes"`
	}
	if err := json.Unmarshal(metadata, &m); err != nil {
		return nil, fmt.Errorf("read its metadata: %w", err)
	}
	return m.Quotes, nil
}
