package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// memberColumns are read by scanMember.
const memberColumns = `m.source_id, m.row_id, m.reason, m.rank, coalesce(m.external_id, ''), m.native, m.source_updated_at, m.fetched_at,
	m.content_hash, m.deleted_at, coalesce(m.merged_into, ''), m.companies, m.last_request_at, coalesce(m.field, '')`

func scanMember(rows pgx.Rows) (*member, error) {
	m := member{stored: true}
	var updated, fetched, gone, request *time.Time
	var hash []byte
	err := rows.Scan(&m.ID, (*[16]byte)(&m.Row), &m.Reason, &m.Rank, &m.External, &m.Native, &updated, &fetched,
		&hash, &gone, &m.Into, &m.Companies, &request, &m.Field)
	m.Updated, m.Fetched, m.Gone, m.LastRequest = orZero(updated), orZero(fetched), orZero(gone), orZero(request)
	copy(m.Hash[:], hash)
	return &m, err
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// idField is the field of Intercom's that is the external id of a kind's objects in this run; "" if the run does not say.
func (l *loader) idField(kind record.Kind) string {
	if kind == record.KindCompany {
		return l.run.Spec.Params[ParamCompanyIDField]
	}
	return l.run.Spec.Params[ParamUserIDField]
}

// Parameters of a run that say which fields of Intercom's are Halo's external ids. Objects that were bound to their rows under other fields are
// decided anew when the run reads them.
const (
	ParamUserIDField    = "user_id_field"
	ParamCompanyIDField = "company_id_field"
)

// orNil is how a time goes to the database.
func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (l *loader) readMembers(ctx context.Context, sql string, args ...any) ([]*member, error) {
	rows, err := l.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*member
	for rows.Next() {
		m, err := scanMember(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// membersByID reads the bindings of objects.
func (l *loader) membersByID(ctx context.Context, kind record.Kind, ids []string) ([]*member, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return l.readMembers(ctx, `SELECT `+memberColumns+` FROM unnest($3::text[]) AS k(id)
		JOIN ingest.id_map m ON m.org_id = $1 AND m.kind = $2 AND m.source_id = k.id`, l.org, string(kind), ids)
}

// rowQuery reads rows of the kind's table for scanBody; the condition refers to k, the unnested $2.
func rowQuery(kind record.Kind, element, condition string) string {
	email, company := "NULL::text", "NULL::uuid"
	if kind == record.KindContact {
		email, company = "lower(btrim(e.email))", "e.company_id"
	}
	return `SELECT e.id, coalesce(e.external_id, ''), coalesce(` + email + `, ''), ` + company + `, e.deleted_at,
			CASE WHEN e.source = '` + sourceName + `' THEN coalesce(e.source_id, '') ELSE '' END,
			e.source = '` + sourceName + `' AND e.source_id IS NOT NULL AND e.content_hash IS NULL
		FROM unnest($2::` + element + `[]) AS k(v) JOIN public.` + kind.Table() + ` e ON e.org_id = $1 AND ` + condition
}

func (l *loader) addRows(ctx context.Context, d *identity, element, condition string, values any) error {
	rows, err := l.conn.Query(ctx, rowQuery(d.kind, element, condition), l.org, values)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b body
		var company *[16]byte
		var gone *time.Time
		if err := rows.Scan((*[16]byte)(&b.ID), &b.External, &b.Email, &company, &gone, &b.Content, &b.Stale); err != nil {
			return err
		}
		if company != nil {
			b.Company = *company
		}
		b.Deleted = orZero(gone)
		d.addRow(&b)
	}
	return rows.Err()
}

// emailKeys asks the server how it compares the addresses, because that depends on its locale.
func (l *loader) emailKeys(ctx context.Context, addresses []string) (map[string]string, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	rows, err := l.conn.Query(ctx, `SELECT v, lower(btrim(v)) FROM unnest($1::text[]) AS k(v)`, addresses)
	if err != nil {
		return nil, err
	}
	keys := make(map[string]string, len(addresses))
	var address, key string
	_, err = pgx.ForEachRow(rows, []any{&address, &key}, func() error { keys[address] = key; return nil })
	return keys, err
}

// readIdentity reads all that decides where objects of a kind go: ids are the objects concerned, claims what the arriving ones
// among them say. The claims' addresses become the keys by which the database compares.
//
// wanted are rows to be read beside, by which identity.wanted is met.
func (l *loader) readIdentity(ctx context.Context, kind record.Kind, ids []string, claims []claim, wanted ...record.UUID) (*identity, error) {
	d := newIdentity(l.org, kind)
	d.field = l.idField(kind)
	found, err := l.membersByID(ctx, kind, ids)
	if err != nil {
		return nil, err
	}
	pending := make(map[string]*member, len(found))
	for _, m := range found {
		pending[m.ID] = m
	}
	if kind == record.KindContact {
		if err := l.readFollowers(ctx, d, pending, ids); err != nil {
			return nil, err
		}
	}
	var external, email []string
	own := slices.Clone(wanted)
	seen := make(map[string]bool)
	for i := range claims {
		c := &claims[i]
		own = append(own, record.RowID(l.org, kind, c.ID))
		if c.External != "" {
			external = append(external, c.External)
		}
		if c.Email != "" && !seen[c.Email] {
			seen[c.Email] = true
			email = append(email, c.Email)
		}
	}
	for _, m := range pending {
		own = append(own, m.Row)
	}
	keys, err := l.emailKeys(ctx, email)
	if err != nil {
		return nil, err
	}
	for i := range claims {
		claims[i].Email = keys[claims[i].Email]
	}
	if err := l.addRows(ctx, d, "uuid", "e.id = k.v", own); err != nil {
		return nil, err
	}
	d.asked = make(map[record.UUID]bool, len(own))
	for _, id := range own {
		d.asked[id] = true
	}
	if len(external) > 0 {
		if err := l.addRows(ctx, d, "text", "e.external_id = k.v", external); err != nil {
			return nil, err
		}
	}
	if len(email) > 0 {
		if err := l.addRows(ctx, d, "text", "lower(btrim(e.email)) = lower(btrim(k.v))", email); err != nil {
			return nil, err
		}
	}
	if len(d.rows) > 0 {
		// The kind is no condition on an index here; see the migration that made id_map_row.
		found, err = l.readMembers(ctx, `SELECT `+memberColumns+` FROM unnest($3::uuid[]) AS k(id)
			JOIN ingest.id_map m ON m.org_id = $1 AND m.row_id = k.id AND (m.kind || '') = $2`, l.org, string(kind), slices.Collect(maps.Keys(d.rows)))
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			pending[m.ID] = m
		}
	}
	for _, id := range slices.Sorted(maps.Keys(pending)) {
		d.addMember(pending[id])
	}
	d.ready(claims)
	return d, nil
}

// readFollowers adds the contacts that were merged into the given ones, directly or through others: those that are bound to a row, and
// those of which only the tombstone is known.
func (l *loader) readFollowers(ctx context.Context, d *identity, found map[string]*member, ids []string) error {
	for len(ids) > 0 {
		list, err := l.readMembers(ctx, `SELECT `+memberColumns+` FROM unnest($3::text[]) AS k(id)
			JOIN ingest.id_map m ON m.org_id = $1 AND m.kind = $2 AND m.merged_into = k.id`, l.org, string(d.kind), ids)
		if err != nil {
			return err
		}
		waiting, err := l.mergedInto(ctx, d.kind, ids)
		if err != nil {
			return err
		}
		ids = nil
		for _, m := range list {
			if found[m.ID] == nil {
				found[m.ID] = m
				ids = append(ids, m.ID)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(waiting)) {
			t := waiting[id]
			if found[id] == nil && !slices.ContainsFunc(d.waiting[t.Into], func(w tombstone) bool { return w.ID == id }) {
				d.waiting[t.Into] = append(d.waiting[t.Into], t)
				ids = append(ids, id)
			}
		}
	}
	return nil
}

// companyRef is a company that a contact can belong to.
type companyRef struct {
	row         record.UUID
	lastRequest time.Time
}

// companyRefs reads which companies are known.
func (l *loader) companyRefs(ctx context.Context, ids []string) (map[string]companyRef, error) {
	refs := make(map[string]companyRef, len(ids))
	if len(ids) == 0 {
		return refs, nil
	}
	rows, err := l.conn.Query(ctx, `SELECT m.source_id, m.row_id, m.last_request_at FROM unnest($2::text[]) AS k(id)
		JOIN ingest.id_map m ON m.org_id = $1 AND m.kind = 'company' AND m.source_id = k.id`, l.org, ids)
	if err != nil {
		return nil, err
	}
	var id string
	var row [16]byte
	var request *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &row, &request}, func() error {
		refs[id] = companyRef{row, orZero(request)}
		return nil
	})
	return refs, err
}

// companyOf decides the company of an end user: of the companies of the contacts on the row that are known, the one with the
// latest request, then the lower id. A row of Halo's own keeps the company that it has as long as none is known; one of ours loses it.
func (b *body) companyOf(refs map[string]companyRef) record.UUID {
	var best companyRef
	name := ""
	for _, m := range b.members {
		if m.Reason == reasonMerged {
			continue // what a vanished contact belonged to says nothing about the survivor
		}
		for _, id := range m.Companies {
			ref, known := refs[id]
			if !known {
				continue
			}
			if c := ref.lastRequest.Compare(best.lastRequest); name == "" || c > 0 || c == 0 && id < name {
				best, name = ref, id
			}
		}
	}
	if name == "" && b.Native {
		return b.Company
	}
	return best.row
}

// collectUUIDs reads rows of one uuid and closes them.
func collectUUIDs(rows pgx.Rows) ([]record.UUID, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (id record.UUID, err error) {
		err = row.Scan((*[16]byte)(&id))
		return id, err
	})
}
