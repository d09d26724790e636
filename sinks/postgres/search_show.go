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

// KnowledgeRecord is a row of knowledge.
type KnowledgeRecord struct {
	ID        record.UUID `json:"id"`
	Key       string      `json:"key"`
	Kind      string      `json:"kind"`
	Title     string      `json:"title"`
	Content   string      `json:"content"`
	Messages  []string    `json:"messages"`
	Quotes    []Citation  `json:"quotes,omitempty"`
	Distiller string      `json:"distiller,omitempty"`
	Evidence  []string    `json:"evidence,omitempty"`
	Fallback  string      `json:"fallback,omitempty"` // why it is not the model's, where one was asked
	UpdatedAt time.Time   `json:"updated_at"`
}

// SaidMessage is a message of a conversation that customer and agents can see.
type SaidMessage struct {
	ID      string    `json:"id"`
	Speaker string    `json:"speaker"`
	Name    string    `json:"name,omitempty"`
	At      time.Time `json:"at,omitzero"`
	Text    string    `json:"text"`
}

// Learned is what was learned from one conversation.
type Learned struct {
	Conversation Hit               `json:"conversation"` // its Score and Records are empty
	Records      []KnowledgeRecord `json:"records"`
	Messages     []SaidMessage     `json:"messages"` // without notes, redacted ones and those of bots
}

// Knowledge returns what org's conversation has been learned from, or one record of it. ref is the conversation's id at Intercom or in Halo,
// or the id or key of a record. Chunks are among the records only if ref names them. ErrNotFound if there is no knowledge by that name.
func (db *DB) Knowledge(ctx context.Context, org record.UUID, ref string) (out Learned, err error) {
	err = db.snapshot(ctx, func(tx pgx.Tx) error {
		out, err = knowledgeOf(ctx, tx, org, ref)
		return err
	})
	return out, wrap(ctx, err, "read the knowledge of %s", ref)
}

// conversationKey stands before the conversation's id in the keys of both layers.
const conversationKey = "intercom:conversation:"

func knowledgeOf(ctx context.Context, tx pgx.Tx, org record.UUID, ref string) (out Learned, err error) {
	id, conversation, key := asUUID(ref), ref, ""
	if at := strings.Index(ref, conversationKey); at >= 0 {
		conversation, _, _ = strings.Cut(ref[at+len(conversationKey):], ":")
		key = ref
	}
	rows, err := tx.Query(ctx, `WITH named AS (
			SELECT k.transcript_id, k.id, true AS itself FROM public.knowledge k WHERE k.org_id = $1 AND k.id = $2
			UNION ALL
			SELECT k.transcript_id, k.id, $4 <> '' FROM public.knowledge k
			WHERE k.org_id = $1 AND k.transcript_id IN ($2, $3) AND CASE WHEN $4 = '' THEN k.kind NOT IN ('parent', 'child') ELSE k.key = $4 END
		)
		SELECT k.transcript_id, k.id, k.key, k.kind, coalesce(k.title, ''), k.content, k.source_message_ids, k.metadata, k.updated_at
		FROM (SELECT DISTINCT transcript_id, id FROM named WHERE itself OR NOT EXISTS (SELECT FROM named WHERE itself)) AS n
			JOIN public.knowledge k ON k.org_id = $1 AND k.id = n.id AND k.transcript_id IS NOT NULL
		ORDER BY array_position(ARRAY['summary', 'problem', 'resolution', 'open_issue', 'qa', 'fact', 'parent', 'child'], k.kind), k.chunk_index, k.key`,
		org, id, record.RowID(org, record.KindConversation, conversation), key)
	if err != nil {
		return out, err
	}
	var transcript record.UUID
	var r KnowledgeRecord
	var metadata []byte
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&transcript), (*[16]byte)(&r.ID), &r.Key, &r.Kind, &r.Title, &r.Content, &r.Messages, &metadata, &r.UpdatedAt}, func() error {
		var m struct {
			Distiller string     `json:"distiller"`
			Evidence  []string   `json:"evidence"`
			Fallback  string     `json:"fallback"`
			Quotes    []Citation `json:"quotes"`
		}
		if len(metadata) > 0 {
			if err := json.Unmarshal(metadata, &m); err != nil {
				return fmt.Errorf("knowledge %s: read its metadata: %w", r.ID, err)
			}
		}
		r.Distiller, r.Evidence, r.Fallback, r.Quotes = m.Distiller, m.Evidence, m.Fallback, m.Quotes
		out.Records = append(out.Records, r)
		r.Messages = nil
		return nil
	})
	if err != nil {
		return out, err
	}
	if len(out.Records) == 0 {
		return out, ErrNotFound
	}
	s := search{tx: tx, org: org}
	hits := []Hit{{Conversation: transcript, Title: out.Records[0].Title, Records: []HitRecord{}}}
	if err := s.showOwners(ctx, hits, map[record.UUID]int{transcript: 0}, []record.UUID{transcript}); err != nil {
		return out, err
	}
	out.Conversation = hits[0]
	out.Messages, err = said(ctx, tx, org, transcript)
	return out, err
}

// said reads the messages of a transcript that may be shown.
func said(ctx context.Context, tx pgx.Tx, org, transcript record.UUID) ([]SaidMessage, error) {
	var text []byte
	if err := tx.QueryRow(ctx, `SELECT messages FROM public.transcripts WHERE org_id = $1 AND id = $2`, org, transcript).Scan(&text); err != nil {
		return nil, err
	}
	var all []struct {
		SaidMessage
		Kind       string `json:"kind"`
		AuthorName string `json:"author_name"`
		Redacted   bool   `json:"redacted"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read the messages of transcript %s: %w", transcript, err)
	}
	list := make([]SaidMessage, 0, len(all))
	for _, m := range all {
		internal := len(m.Kind) >= len(record.MessageNote) && m.Kind[:len(record.MessageNote)] == record.MessageNote
		if internal || m.Redacted || m.Text == "" || m.Speaker != record.SpeakerUser && m.Speaker != record.SpeakerAgent {
			continue
		}
		m.Name = m.AuthorName
		list = append(list, m.SaidMessage)
	}
	return list, nil
}

// asUUID is the UUID that a text is, or nil.
func asUUID(text string) *record.UUID {
	id, err := record.ParseUUID(text)
	if err != nil {
		return nil
	}
	return &id
}

// EndUser finds an end user of org by Halo's id, external id, Intercom's id or e-mail address, in this order. ErrNotFound if there is none.
func (db *DB) EndUser(ctx context.Context, org record.UUID, ref string) (record.UUID, error) {
	return db.owner(ctx, org, "end user", ref, `SELECT id, CASE WHEN id = $2 THEN 1 WHEN external_id = $3 THEN 2 WHEN source_id = $3 THEN 3 ELSE 4 END AS place
		FROM public.end_users WHERE org_id = $1 AND (id = $2 OR external_id = $3 OR source_id = $3 OR lower(btrim(email)) = lower(btrim($3)))`)
}

// Company finds a company of org by Halo's id, external id, Intercom's id or name, in this order. ErrNotFound if there is none.
func (db *DB) Company(ctx context.Context, org record.UUID, ref string) (record.UUID, error) {
	return db.owner(ctx, org, "company", ref, `SELECT id, CASE WHEN id = $2 THEN 1 WHEN external_id = $3 THEN 2 WHEN source_id = $3 THEN 3 ELSE 4 END AS place
		FROM public.companies WHERE org_id = $1 AND (id = $2 OR external_id = $3 OR source_id = $3 OR lower(btrim(name)) = lower(btrim($3)))`)
}

func (db *DB) owner(ctx context.Context, org record.UUID, what, ref, sql string) (id record.UUID, err error) {
	err = db.pool.QueryRow(ctx, `SELECT id FROM (`+sql+`) AS o ORDER BY place, id LIMIT 1`, org, asUUID(ref), ref).Scan((*[16]byte)(&id))
	if err == pgx.ErrNoRows {
		return id, fmt.Errorf("%s %q: %w", what, ref, ErrNotFound)
	}
	return id, wrap(ctx, err, "look for %s %q", what, ref)
}
