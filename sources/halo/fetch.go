package halo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// Fetch reads objects as they are now, with their values, links and whatever else is known of them: that they are gone, kept as rejects, or
// left out by a rule. An id may be a stray row's (diff.StrayPrefix).
func (s *Side) Fetch(ctx context.Context, entity string, ids []string) ([]diff.Object, error) {
	l := s.layouts[entity]
	if l == nil {
		return nil, fmt.Errorf("there is no entity %q", entity)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	f := &fetch{l: l, org: s.org, hasher: &s.hasher, found: make(map[string]*diff.Object, len(ids))}
	for _, id := range ids {
		if row, ok := strings.CutPrefix(id, diff.StrayPrefix); ok {
			if u, err := record.ParseUUID(row); err == nil {
				f.strays = append(f.strays, u)
				continue
			}
		}
		f.ids = append(f.ids, id)
	}
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err == nil {
		f.tx = tx
		err = f.all(ctx)
		_ = tx.Rollback(context.WithoutCancel(ctx)) // nothing was written
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", entity, err)
	}
	list := make([]diff.Object, 0, len(f.found))
	for _, o := range f.found {
		list = append(list, *o)
	}
	return list, nil
}

// fetch is one call of Fetch.
type fetch struct {
	tx     pgx.Tx
	l      *layout
	org    record.UUID
	hasher *rowHasher
	ids    []string      // of objects
	strays []record.UUID // rows
	found  map[string]*diff.Object
}

func (f *fetch) all(ctx context.Context) error {
	// Keyed lookups, whatever the planner thinks of tables that were never analysed.
	_, err := f.tx.Exec(ctx, `SELECT set_config(name, 'off', true) FROM (VALUES ('enable_seqscan'), ('enable_hashjoin'), ('enable_mergejoin'), ('jit')) AS s(name)`)
	if err != nil {
		return err
	}
	switch {
	case f.l.person:
		err = f.people(ctx)
	case f.l.entity == "knowledge":
		err = f.knowledge(ctx)
	default:
		err = f.objects(ctx)
	}
	if err != nil {
		return err
	}
	if err := f.tombstones(ctx); err != nil {
		return err
	}
	return f.rejects(ctx)
}

// each runs a query with binary results and calls row with the fields of each row, valid until it returns.
func (f *fetch) each(ctx context.Context, sql string, row func(v [][]byte) error, args ...any) error {
	rows, err := f.tx.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.RawValues()); err != nil {
			return err
		}
	}
	return rows.Err()
}

// rowIDs are the ids of the rows of conversations or tickets, and which object each is of.
func (f *fetch) rowIDs(kind record.Kind) (ids []record.UUID, of map[record.UUID]string) {
	of = make(map[record.UUID]string, len(f.ids))
	for _, id := range f.ids {
		u := f.hasher.namer.Row(f.org, kind, []byte(id))
		of[u] = id
		ids = append(ids, u)
	}
	return ids, of
}

// values are a row's, in the order of diff.Columns.
func (f *fetch) values(fields [][]byte) []diff.Value {
	list := make([]diff.Value, len(f.l.specs))
	for i, spec := range f.l.specs {
		list[i] = f.hasher.canonical.cell(spec.Kind, fields[f.l.at[i]])
	}
	return list
}

// put notes an object of which there is a row. fingerprint is complete but for SourceID.
func (f *fetch) put(id string, fields [][]byte, fingerprint record.Fingerprint) *diff.Object {
	fingerprint.SourceID, fingerprint.Count = id, 1
	o := &diff.Object{SourceID: id, State: fingerprint.State, Version: version(fields), Fingerprint: fingerprint,
		Rows: []diff.Row{{ID: uuid(fields[fieldID]), Values: f.values(fields)}}}
	f.found[id] = o
	return o
}

func version(fields [][]byte) record.Version {
	return record.Version{UpdatedAt: instant(fields[fieldUpdated]), FetchedAt: instant(fields[fieldFetched])}
}

func instant(raw []byte) time.Time {
	us := micros(raw)
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// link compares a link with what it should be.
func link(row record.UUID, column string, want, have []byte) diff.Link {
	name := func(raw []byte) string {
		if raw == nil {
			return ""
		}
		return uuid(raw).String()
	}
	return diff.Link{RowID: row, Column: column, Want: name(want), Have: name(have)}
}

// objects reads transcripts or tickets.
func (f *fetch) objects(ctx context.Context) error {
	ids, of := f.rowIDs(f.l.kind)
	for _, u := range f.strays {
		if _, asked := of[u]; !asked {
			ids = append(ids, u)
		}
	}
	n := len(f.l.fields)
	waiting := make(map[record.UUID]*diff.Object) // tickets that wait for a conversation, by the row that this would have
	sql := "SELECT " + strings.Join(append(slices.Clip(f.l.fields), "e.end_user_id", wantUser, "e.company_id", wantCompany), ", ")
	if f.l.entity == "tickets" {
		sql += ", e.transcript_id, c.id, w.ref_id"
	}
	sql += f.l.from + linkJoin + strings.ReplaceAll(f.l.where, "{org}", "$1::uuid") + " AND e.id = ANY ($2::uuid[])"
	err := f.each(ctx, sql, func(v [][]byte) error {
		row := uuid(v[fieldID])
		stored, computed := digest(v[fieldHash]), f.hasher.hash(f.l, v)
		fp := record.Fingerprint{UpdatedAt: micros(v[fieldUpdated]), FetchedAt: micros(v[fieldFetched]), Hash: computed}
		if computed != stored {
			fp.Hash = unsealed(computed)
		}
		if v[fieldDeleted] != nil {
			fp.State = record.FingerprintDeleted
		}
		id, asked := of[row]
		if asked && string(v[fieldKey]) != id {
			f.found[id] = &diff.Object{SourceID: id, State: record.FingerprintGone, Note: "its row is there, but claims to be another object"}
			asked = false
		}
		if !asked {
			if v[fieldKey] != nil && slices.Contains(f.strays, row) {
				f.put(diff.StrayPrefix+row.String(), v, fp).Note = strayNote
			}
			return nil
		}
		o := f.put(id, v, fp)
		o.Sealed = computed == stored
		o.Links = []diff.Link{link(row, "end_user_id", v[n+1], v[n]), link(row, "company_id", v[n+3], v[n+2])}
		if f.l.entity == "tickets" {
			o.Links = append(o.Links, link(row, "transcript_id", v[n+5], v[n+4]))
			if v[n+4] == nil && v[n+6] != nil {
				waiting[f.hasher.namer.Row(f.org, record.KindConversation, v[n+6])] = o
			}
		}
		return nil
	}, f.org.String(), ids)
	if err != nil || len(waiting) == 0 {
		return err
	}
	var rows []record.UUID
	for u := range waiting {
		rows = append(rows, u)
	}
	return f.each(ctx, `SELECT t.id FROM public.transcripts t WHERE t.org_id = $1::uuid AND t.id = ANY ($2::uuid[])`, func(v [][]byte) error {
		links := waiting[uuid(v[0])].Links
		links[len(links)-1].Want = uuid(v[0]).String()
		return nil
	}, f.org.String(), rows)
}

const strayNote = "a row that claims to be an object's, but is not the one that the object is bound to"

// people reads contacts or companies with the rows that they are bound to.
func (f *fetch) people(ctx context.Context) error {
	n := len(f.l.fields)
	fields := append(slices.Clip(f.l.fields), `(SELECT count(*) FROM ingest.id_map o WHERE o.org_id = m.org_id AND o.row_id = m.row_id AND (o.kind || '') = m.kind)`)
	from := strings.Replace(f.l.from, " JOIN ", " LEFT JOIN ", 1)
	shown := make(map[record.UUID]*diff.Object)
	native := make(map[record.UUID]bool)
	sql := "SELECT " + strings.Join(fields, ", ") + from + strings.ReplaceAll(f.l.where, "{org}", "$1::uuid") + " AND m.source_id = ANY ($2::text[])"
	err := f.each(ctx, sql, func(v [][]byte) error {
		id := string(v[fieldKey])
		if v[fieldID] == nil {
			f.found[id] = &diff.Object{SourceID: id, State: record.FingerprintGone, Note: "its row is not in the table any more"}
			return nil
		}
		bound, row, computed := digest(v[fieldHash]), digest(v[fieldShownHash]), f.hasher.hash(f.l, v)
		fp := record.Fingerprint{UpdatedAt: micros(v[fieldUpdated]), FetchedAt: micros(v[fieldFetched]), State: personState(v), Hash: bound}
		sealed := computed == row && row == bound
		if fp.State == record.FingerprintLive {
			if fp.Hash = computed; !sealed {
				fp.Hash = unsealed(computed)
			}
		}
		o := f.put(id, v, fp)
		isNative := truth(v[fieldNative])
		o.Shared = isNative || integer(v[n]) > 1
		o.Sealed = sealed && fp.State == record.FingerprintLive
		if v[fieldHash] == nil {
			o.Note = "it is to be loaded again: its row shows another object, which is gone or has left it"
		}
		f.identity(o, v, bound, row)
		if string(v[fieldShown]) == id {
			shown[uuid(v[fieldID])] = o
			native[uuid(v[fieldID])] = isNative
		}
		return nil
	}, f.org.String(), f.ids)
	if err != nil {
		return err
	}
	if err := f.companies(ctx, shown, native); err != nil {
		return err
	}
	return f.unbound(ctx)
}

// identity gives an object the values that the identity map has of it where its row shows another one, and says where the two disagree.
func (f *fetch) identity(o *diff.Object, v [][]byte, bound, row record.Digest) {
	for i, spec := range f.l.specs {
		value := &o.Rows[0].Values[i]
		switch {
		case o.State != record.FingerprintShared:
			if spec.Name == "content_hash" && bound != row {
				value.Text += ", and " + bound.String() + " in the identity map"
			}
		case spec.Name == "source_id":
			*value = diff.Value{Valid: true, Text: o.SourceID}
		case spec.Name == "source_updated_at":
			*value = f.hasher.canonical.cell(diff.TimeColumn, v[fieldUpdated])
		case spec.Name == "content_hash":
			*value = f.hasher.canonical.cell(diff.HashColumn, v[fieldHash])
		}
	}
}

// companies adds the links of end users.
func (f *fetch) companies(ctx context.Context, shown map[record.UUID]*diff.Object, native map[record.UUID]bool) error {
	if f.l.kind != record.KindContact || len(shown) == 0 {
		return nil
	}
	var rows []record.UUID
	for u := range shown {
		rows = append(rows, u)
	}
	sql := `SELECT e.id, e.company_id, c.company FROM public.end_users e LEFT JOIN (` + choiceSQL("$1::uuid", ` AND m.row_id = ANY ($2::uuid[])`) + `) c ON c.row_id = e.id
		WHERE e.org_id = $1::uuid AND e.id = ANY ($2::uuid[])`
	return f.each(ctx, sql, func(v [][]byte) error {
		row, want := uuid(v[0]), v[2]
		if want == nil && native[row] {
			want = v[1] // Halo's own row keeps the company that it has
		}
		shown[row].Links = []diff.Link{link(row, "company_id", want, v[1])}
		return nil
	}, f.org.String(), rows)
}

// unbound reads rows of people that no object is bound to.
func (f *fetch) unbound(ctx context.Context) error {
	if len(f.strays) == 0 {
		return nil
	}
	// The columns of the identity map are not there.
	fields := slices.Clone(f.l.fields)
	for i, expr := range fields {
		if strings.HasPrefix(expr, "m.") || i == fieldOthers || i == fieldHeir {
			fields[i] = "NULL"
		}
	}
	fields[fieldKey], fields[fieldUpdated], fields[fieldFetched] = "e.source_id", "e.source_updated_at", "e.updated_at"
	fields[fieldHash], fields[fieldDeleted] = "e.content_hash", "e.deleted_at"
	sql := "SELECT " + strings.Join(fields, ", ") + ` FROM public.` + f.l.entity + ` e WHERE e.org_id = $1::uuid AND e.id = ANY ($2::uuid[]) AND e.source_id IS NOT NULL
		AND NOT EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = e.org_id AND m.row_id = e.id AND (m.kind || '') = '` + string(f.l.kind) + `')`
	return f.each(ctx, sql, func(v [][]byte) error {
		fp := record.Fingerprint{UpdatedAt: micros(v[fieldUpdated]), FetchedAt: micros(v[fieldFetched]), Hash: digest(v[fieldHash])}
		if v[fieldDeleted] != nil {
			fp.State = record.FingerprintDeleted
		}
		f.put(diff.StrayPrefix+uuid(v[fieldID]).String(), v, fp).Note = strayNote
		return nil
	}, f.org.String(), f.strays)
}

// knowledge reads the knowledge of conversations.
func (f *fetch) knowledge(ctx context.Context) error {
	ids, of := f.rowIDs(record.KindConversation)
	n := len(f.l.fields)
	sql := "SELECT " + strings.Join(append(slices.Clip(f.l.fields), "e.end_user_id", "t.end_user_id", "e.company_id", "t.company_id", "t.id"), ", ") + f.l.from +
		` LEFT JOIN public.transcripts t ON t.org_id = e.org_id AND t.id = e.transcript_id` +
		strings.ReplaceAll(f.l.where, "{org}", "$1::uuid") + " AND e.source_id IS NOT NULL AND e.deleted_at IS NULL AND "
	row := func(v [][]byte) error {
		id, asked := of[uuid(v[fieldTranscript])]
		stored, computed := digest(v[fieldHash]), f.hasher.hash(f.l, v)
		hash, rowID := computed, uuid(v[fieldID])
		if computed != stored {
			hash = unsealed(computed)
		}
		if f.hasher.strayKnowledge(f.l, v, true) {
			if slices.Contains(f.strays, rowID) {
				f.put(diff.StrayPrefix+rowID.String(), v, record.Fingerprint{Hash: hash}).Note = strayNote
			}
			return nil
		}
		if !asked || string(v[fieldKey]) != id {
			return nil
		}
		o := f.found[id]
		if o == nil {
			o = &diff.Object{SourceID: id, Sealed: true, Fingerprint: record.Fingerprint{SourceID: id}}
			f.found[id] = o
		}
		o.Sealed = o.Sealed && computed == stored
		o.Fingerprint.Hash = o.Fingerprint.Hash.Plus(hash)
		o.Fingerprint.Count++
		o.Rows = append(o.Rows, diff.Row{ID: rowID, Values: f.values(v)})
		if v[n+4] != nil {
			o.Links = append(o.Links, link(rowID, "end_user_id", v[n+1], v[n]), link(rowID, "company_id", v[n+3], v[n+2]))
		}
		return nil
	}
	if err := f.each(ctx, sql+"e.transcript_id = ANY ($2::uuid[])", row, f.org.String(), ids); err != nil {
		return err
	}
	if len(f.strays) > 0 {
		if err := f.each(ctx, sql+"e.id = ANY ($2::uuid[])", row, f.org.String(), f.strays); err != nil {
			return err
		}
	}
	return f.conversations(ctx, ids, of)
}

// conversations says of what state the knowledge is, and why there is none: the conversation is gone, or has no customer to whom it would belong
// (sinks/postgres, knowledge.go).
func (f *fetch) conversations(ctx context.Context, ids []record.UUID, of map[record.UUID]string) error {
	sql := `SELECT e.id, e.source_id, e.source_updated_at, e.updated_at, e.deleted_at, e.source_contact_id, ` + wantUser + ` FROM public.transcripts e` + linkJoin +
		` WHERE e.org_id = $1::uuid AND e.id = ANY ($2::uuid[])`
	return f.each(ctx, sql, func(v [][]byte) error {
		id := of[uuid(v[0])]
		if string(v[1]) != id {
			return nil
		}
		o := f.found[id]
		switch {
		case o != nil:
		case v[4] != nil:
			o = &diff.Object{SourceID: id, State: record.FingerprintDeleted}
		case v[5] == nil:
			o = &diff.Object{SourceID: id, State: record.FingerprintExcluded, Note: "the conversation has no customer to whom knowledge could belong"}
		case v[6] == nil:
			o = &diff.Object{SourceID: id, State: record.FingerprintExcluded, Note: "the conversation's customer is not loaded, and knowledge waits for it"}
		default:
			return nil
		}
		o.Version = record.Version{UpdatedAt: instant(v[2]), FetchedAt: instant(v[3])}
		f.found[id] = o
		return nil
	}, f.org.String(), ids)
}

// tombstones says of objects that are not there when they went. A row that is marked as deleted must have one.
func (f *fetch) tombstones(ctx context.Context) error {
	gone := make(map[string]bool)
	err := f.each(ctx, `SELECT t.source_id, t.gone_at, t.fetched_at FROM ingest.tombstones t WHERE t.org_id = $1::uuid AND t.kind = $2 AND t.source_id = ANY ($3::text[])`,
		func(v [][]byte) error {
			id := string(v[0])
			o := f.found[id]
			if o == nil {
				o = &diff.Object{SourceID: id, State: record.FingerprintGone}
				f.found[id] = o
			}
			gone[id] = true
			if o.State == record.FingerprintGone && o.Note == "" || o.State == record.FingerprintDeleted {
				o.Version = record.Version{UpdatedAt: instant(v[1]), FetchedAt: instant(v[2]), Rank: 1}
				o.Fingerprint.UpdatedAt, o.Fingerprint.FetchedAt = micros(v[1]), micros(v[2])
			}
			return nil
		}, f.org.String(), string(f.l.kind), f.ids)
	if err != nil {
		return err
	}
	for id, o := range f.found {
		if o.State == record.FingerprintDeleted && !gone[id] {
			o.Note = "marked as deleted in the target, without word from Intercom that it is gone"
		}
	}
	return nil
}

// rejects says of objects that a state of them was refused.
func (f *fetch) rejects(ctx context.Context) error {
	return f.each(ctx, `SELECT r.source_id, r.stage, r.field FROM ingest.rejects r WHERE r.org_id = $1::uuid AND r.kind = $2 AND r.source_id = ANY ($3::text[])
			AND r.resolved_at IS NULL ORDER BY r.id`, func(v [][]byte) error {
		id := string(v[0])
		note := string(v[1])
		if len(v[2]) > 0 {
			note += ": " + string(v[2])
		}
		switch o := f.found[id]; {
		case o == nil, o.State == record.FingerprintGone:
			f.found[id] = &diff.Object{SourceID: id, State: record.FingerprintRejected, Note: note}
		case o.State.Live() && o.Note == "":
			o.Note = "an older state is loaded, and a newer one is kept as a reject (" + note + ")"
		}
		return nil
	}, f.org.String(), string(f.l.kind), f.ids)
}
