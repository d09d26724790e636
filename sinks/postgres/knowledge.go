package postgres

import (
	"context"
	"encoding/json"

	"haloingest/pipeline/record"
)

// Knowledge belongs to one transcript, is scoped to that transcript's end user, and is replaced as a whole: what the new set
// lacks is deleted, what it adds is inserted, what has another hash is updated and loses its embedding. A conversation without a
// customer, or one that is gone, has none.

// knowledgeSet is all knowledge of one transcript.
type knowledgeSet struct {
	transcript record.UUID
	source     string // the conversation's Intercom id, where it is known
	link       linkage
	rows       []record.KnowledgeRow
}

// withheld is a set in the form in which it waits for its contact.
func withheld(rows []record.KnowledgeRow) ([]byte, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	return json.Marshal(rows)
}

// known is a row of knowledge as the table has it.
type known struct {
	transcript record.UUID
	hash       record.Digest
	link       linkage
	kept       bool
}

// replaceKnowledge writes the sets: fresh ones of transcripts that have none, changed ones in place of what there is.
func (l *loader) replaceKnowledge(ctx context.Context, fresh, changed []knowledgeSet) error {
	have, err := l.heldKnowledge(ctx, changed)
	if err != nil {
		return err
	}
	var gone []record.UUID
	t, add := l.targets.knowledge, &l.scratch.knowledge
	add.reset(t.columns)
	for i := range fresh {
		s := &fresh[i]
		for j := range s.rows {
			encodeKnowledge(add, &s.rows[j], s.transcript, s.link, l.run.ID)
		}
	}
	// Two COPYs need two buffers; what changes is little and goes second, into the one of the rows, which have been sent.
	change := &l.scratch.rows
	change.reset(t.columns)
	for i := range changed {
		s := &changed[i]
		for j := range s.rows {
			r := &s.rows[j]
			k := have[r.ID]
			switch {
			case k == nil:
				encodeKnowledge(add, r, s.transcript, s.link, l.run.ID)
				continue
			case k.hash == r.Hash && k.link == s.link && k.transcript == s.transcript && !l.rewrite:
				l.counts.Add("load/knowledge/equal", 1)
			default:
				encodeKnowledge(change, r, s.transcript, s.link, l.run.ID)
			}
			k.kept = true
		}
	}
	for id, k := range have {
		if !k.kept {
			gone = append(gone, id)
		}
	}
	if len(gone) > 0 {
		n, err := l.remove(ctx, images.knowledge, "unnest($3::uuid[]) AS k(id)", "t.id = k.id", gone)
		if err != nil {
			return err
		}
		l.counts.Add("load/knowledge/deleted", n)
	}
	if err := l.addKnowledge(ctx, add); err != nil || change.rows == 0 {
		return err
	}
	return l.upsertKnowledge(ctx, change)
}

// heldKnowledge reads what the table has of the sets' transcripts.
func (l *loader) heldKnowledge(ctx context.Context, sets []knowledgeSet) (map[record.UUID]*known, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	have := make(map[record.UUID]*known)
	ids := make([]record.UUID, len(sets))
	var sources []string
	for i := range sets {
		ids[i] = sets[i].transcript
		if sets[i].source != "" {
			sources = append(sources, sets[i].source)
		}
	}
	err := l.readKnowledge(ctx, have, `unnest($2::uuid[]) AS k(id) JOIN public.knowledge n ON n.org_id = $1 AND n.transcript_id = k.id`, ids)
	if err != nil || !l.rewrite || len(sources) == 0 {
		return have, err
	}
	// A row that says it is of the conversation and hangs elsewhere. There is no index for this; it is for repairs.
	err = l.readKnowledge(ctx, have, `public.knowledge n WHERE n.org_id = $1 AND n.source_id = ANY ($2::text[])
		AND (starts_with(n.key, 'intercom:') OR starts_with(n.key, 'distilled:intercom:'))`, sources)
	return have, err
}

func (l *loader) readKnowledge(ctx context.Context, have map[record.UUID]*known, from string, keys any) error {
	rows, err := l.conn.Query(ctx, `SELECT n.id, n.transcript_id, n.content_hash, n.end_user_id, n.company_id FROM `+from, l.org, keys)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id record.UUID
		var hash []byte
		var transcript, user, company *[16]byte
		k := new(known)
		if err := rows.Scan((*[16]byte)(&id), &transcript, &hash, &user, &company); err != nil {
			return err
		}
		copy(k.hash[:], hash)
		if transcript != nil {
			k.transcript = *transcript
		}
		if user != nil {
			k.link.endUser = *user
		}
		if company != nil {
			k.link.company = *company
		}
		have[id] = k
	}
	return rows.Err()
}

func (l *loader) addKnowledge(ctx context.Context, add *copyBuffer) error {
	switch {
	case add.rows == 0:
		_, err := add.finish() // for the error of a row that could not be encoded
		return err
	case l.careful:
		return l.upsertKnowledge(ctx, add)
	}
	l.counts.Add("load/knowledge/inserted", int64(add.rows))
	return l.copyDirect(ctx, l.targets.knowledge, add)
}

func (l *loader) upsertKnowledge(ctx context.Context, buf *copyBuffer) error {
	t := l.targets.knowledge
	if err := l.copyTemp(ctx, t, buf); err != nil {
		return err
	}
	if err := l.keepTemp(ctx, t); err != nil {
		return err
	}
	set := t.setting("org_id", "id") + `, updated_at = now(), deleted_at = NULL,
		embedding = CASE WHEN t.content_hash IS DISTINCT FROM excluded.content_hash OR t.content IS DISTINCT FROM excluded.content THEN NULL ELSE t.embedding END`
	rows, err := l.conn.Query(ctx, t.upsert("org_id, id", set, "true", "t.xmax = 0"), l.org)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var made bool
		if err := rows.Scan(&made); err != nil {
			return err
		}
		if made {
			l.counts.Add("load/knowledge/inserted", 1)
		} else {
			l.counts.Add("load/knowledge/updated", 1)
		}
	}
	return rows.Err()
}
