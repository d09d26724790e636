package postgres

import (
	"context"
	"encoding/binary"
	"time"

	"haloingest/pipeline/record"
)

// stored is what a probe finds of a row.
type stored struct {
	found     bool
	hash      record.Digest
	knowledge record.Digest // transcripts only
	version   record.Version
	gone      bool // marked deleted
}

// The subqueries with OFFSET 0 are a fence: whatever the planner believes of a table that it has no figures for, the keys come first
// and each is looked up by index. Left free, it reads all rows of the organisation as long as it takes the table for empty.
var (
	probeTranscripts = statement{"haloingest_probe_transcripts", probeSQL("transcripts", "t.knowledge_hash")}
	probeTickets     = statement{"haloingest_probe_tickets", probeSQL("tickets", "NULL::bytea")}
	probeExists      = statement{"haloingest_probe_exists", `SELECT k.i FROM unnest($2::uuid[]) WITH ORDINALITY AS k(id, i)
		CROSS JOIN LATERAL (SELECT FROM public.transcripts t WHERE t.org_id = $1 AND t.id = k.id OFFSET 0) t`}
	probeContacts      = statement{"haloingest_probe_contacts", boundSQL("contact", "end_users", "e.id, e.company_id")}
	probeCompanies     = statement{"haloingest_probe_companies", boundSQL("company", "companies", "e.id, NULL::uuid")}
	probeContactHashes = statement{"haloingest_probe_contact_hashes", boundSQL("contact", "end_users", "m.content_hash, m.field")}
	probeCompanyHashes = statement{"haloingest_probe_company_hashes", boundSQL("company", "companies", "m.content_hash, m.field")}
)

// Most organisations have few tombstones, and no ticket that waits for a conversation, so it is asked first whether there is anything to look
// up object by object. The answer cannot change before the transaction ends: tombstones and tickets that name a conversation are written under the
// organisation's lock, held alone (see lock), of which whoever asks has a share.
var (
	probeSomeGone    = statement{"haloingest_some_gone", `SELECT EXISTS (SELECT FROM ingest.tombstones t WHERE t.org_id = $1 AND t.kind = $2)`}
	probeSomeWaiting = statement{"haloingest_some_waiting", `SELECT EXISTS (SELECT FROM ingest.pending_links p WHERE p.org_id = $1 AND p.ref_kind = $2)`}
)

// some asks whether the organisation has any of a kind.
func (l *loader) some(ctx context.Context, s statement, kind string) (bool, error) {
	r, err := l.raw(ctx, s, l.org[:], []byte(kind))
	if err != nil {
		return false, err
	}
	yes := false
	for r.NextRow() {
		yes = r.Values()[0][0] != 0
	}
	_, err = r.Close()
	return yes, err
}

// probeSQL looks up rows by id.
func probeSQL(table, knowledge string) string {
	return `SELECT k.i, t.* FROM unnest($2::uuid[]) WITH ORDINALITY AS k(id, i) CROSS JOIN LATERAL (
		SELECT t.content_hash, t.source_updated_at, t.updated_at, t.deleted_at, ` + knowledge + `
		FROM public.` + table + ` t WHERE t.org_id = $1 AND t.id = k.id OFFSET 0) t`
}

// boundSQL looks up the rows that Intercom ids are bound to.
func boundSQL(kind, table, columns string) string {
	return `SELECT k.i, m.* FROM unnest($2::text[]) WITH ORDINALITY AS k(id, i) CROSS JOIN LATERAL (
		SELECT ` + columns + ` FROM (SELECT m.row_id, m.content_hash, m.field FROM ingest.id_map m
			WHERE m.org_id = $1 AND m.kind = '` + kind + `' AND m.source_id = k.id OFFSET 0) m
		CROSS JOIN LATERAL (SELECT * FROM public.` + table + ` e WHERE e.org_id = $1 AND e.id = m.row_id OFFSET 0) e) m`
}

// probe asks for the rows of the items by their keys. found has one entry per item and is valid until the next probe.
func (l *loader) probe(ctx context.Context, s statement, items []*item) ([]stored, error) {
	found := l.scratch.stored
	if cap(found) < len(items) {
		found = make([]stored, len(items))
	}
	found = found[:len(items)]
	clear(found)
	l.scratch.stored = found
	if len(items) == 0 {
		return found, nil
	}
	keys := appendArrayHead(l.scratch.keys[:0], len(items), oidUUID)
	for _, it := range items {
		keys = binary.BigEndian.AppendUint32(keys, 16)
		id := it.rowID()
		keys = append(keys, id[:]...)
	}
	l.scratch.keys = keys
	return found, l.each(ctx, s, keys, len(items), func(i int, v [][]byte) error {
		f := &found[i]
		f.found = true
		copy(f.hash[:], v[1])
		copy(f.knowledge[:], v[5])
		var err error
		if f.version.UpdatedAt, err = nullTime(v[2]); err != nil {
			return err
		}
		if f.version.FetchedAt, err = nullTime(v[3]); err != nil {
			return err
		}
		f.gone = v[4] != nil
		return nil
	})
}

// existing asks which of the ids are transcripts.
func (l *loader) existing(ctx context.Context, ids []record.UUID) (map[record.UUID]bool, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	keys := appendArrayHead(l.scratch.keys[:0], len(ids), oidUUID)
	for _, id := range ids {
		keys = binary.BigEndian.AppendUint32(keys, 16)
		keys = append(keys, id[:]...)
	}
	l.scratch.keys = keys
	there := make(map[record.UUID]bool, len(ids))
	return there, l.each(ctx, probeExists, keys, len(ids), func(i int, _ [][]byte) error {
		there[ids[i]] = true
		return nil
	})
}

// ref is the row that an Intercom id stands for.
type ref struct{ row, company record.UUID }

// refs asks which rows the Intercom ids are bound to. Ids without a row are not in the answer.
func (l *loader) refs(ctx context.Context, s statement, ids []string, into map[string]ref) error {
	if len(ids) == 0 {
		return nil
	}
	l.scratch.keys = appendTexts(l.scratch.keys[:0], ids)
	return l.each(ctx, s, l.scratch.keys, len(ids), func(i int, v [][]byte) error {
		var r ref
		copy(r.row[:], v[1])
		copy(r.company[:], v[2])
		into[ids[i]] = r
		return nil
	})
}

// each runs a probe whose first result column is the position, from 1, of the key that the row is for.
func (l *loader) each(ctx context.Context, s statement, keys []byte, n int, f func(i int, v [][]byte) error) error {
	r, err := l.raw(ctx, s, l.org[:], keys)
	if err != nil {
		return err
	}
	var failed error
	for r.NextRow() {
		v := r.Values()
		if failed != nil {
			continue
		}
		i := int(binary.BigEndian.Uint64(v[0])) - 1
		if i < 0 || i >= n {
			failed = invariant("%s answered for key %d of %d", s.name, i+1, n)
			continue
		}
		failed = f(i, v)
	}
	if _, err := r.Close(); err != nil {
		return err
	}
	return failed
}

func nullTime(b []byte) (time.Time, error) {
	if b == nil {
		return time.Time{}, nil
	}
	return decodeTime(b)
}
