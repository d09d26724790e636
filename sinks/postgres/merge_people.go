package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"haloingest/pipeline/record"
)

// Contacts and companies: rows that several objects may share and that Halo may have made itself. What an object writes is laid over the
// row if the object wins it (see identity.wins), and under it if not: then it only fills what is empty. Keys and values that
// Intercom lacks stay, and so do the activity stamps that the row was made with. Only where the row is this program's and stands
// for one object alone is what the object has lost taken away: its columns, its external id, and the context entries that this
// program wrote.

var idMapColumns = []string{"org_id", "kind", "source_id", "row_id", "reason", "rank", "source_updated_at", "content_hash", "last_request_at",
	"deleted_at", "fetched_at", "external_id", "companies", "merged_into", "native", "field", "run_id"}

var (
	endUserUpdate = contentUpdate("end_users", "name", "email", "avatar", "role", "signed_up_at")
	companyUpdate = contentUpdate("companies", "name", "domain", "industry", "plan", "employee_count", "signed_up_at")
)

// contentUpdate merges the rows of the temp table into rows that are there. Documents are merged key by key.
func contentUpdate(table string, values ...string) string {
	var b strings.Builder
	b.WriteString("UPDATE public." + table + " e SET source = '" + sourceName + "', run_id = k.run_id, updated_at = k.updated_at")
	for _, c := range values {
		b.WriteString(", " + c + " = CASE WHEN k.owns THEN k." + c + " WHEN k.wins THEN coalesce(k." + c + ", e." + c + ") ELSE coalesce(e." + c + ", k." + c + ") END")
	}
	for _, c := range []string{"custom_fields", "context"} {
		have := "CASE WHEN jsonb_typeof(e." + c + ") = 'object' THEN e." + c + " ELSE '{}' END"
		kept := have
		if c == "context" {
			// What this program wrote for the one object that the row shows goes with it: a tag that was taken off at Intercom, say.
			kept = "CASE WHEN k.sole THEN (" + have + ") - ARRAY(SELECT key FROM jsonb_object_keys(" + have + ") AS key WHERE starts_with(key, 'intercom_')) ELSE " + have + " END"
		}
		b.WriteString(", " + c + " = CASE WHEN k.wins THEN (" + kept + ") || k." + c + " ELSE k." + c + " || (" + have + ") END")
	}
	for _, c := range []string{"source_id", "source_updated_at", "content_hash"} {
		b.WriteString(", " + c + " = CASE WHEN k.wins THEN k." + c + " ELSE e." + c + " END")
	}
	b.WriteString(" FROM pg_temp.haloingest_" + table + " k WHERE k.org_id = $1 AND e.org_id = $1 AND e.id = k.id")
	return b.String()
}

// arrival is the state of a contact or company that is to be written.
type arrival struct {
	it   *item
	m    *member
	b    *body
	wins bool
	sole bool // the row has nothing of another object: none is bound to it, or it is made anew
	owns bool // and Halo did not make it: what the object lacks is not in the row either
	wave int  // 0: makes the row; n: is the n-th to be merged into it
}

// people is the work of one batch on the objects of one kind.
type people struct {
	l        *loader
	kind     record.Kind
	d        *identity
	arrivals []arrival
	buried   map[string]tombstone
	asked    []string // companies: ids whose last request has changed
}

// loadPeople loads the contacts or the companies of a batch, states and tombstones, in the order in which they came. same are those that
// are there as they came, and were left out; what others of the batch do may make it needful to load them all the same.
// The organisation's lock must be held (see loader.lock).
func (l *loader) loadPeople(ctx context.Context, kind record.Kind, items, same []*item) error {
	if len(items) == 0 {
		return nil
	}
	var wanted []record.UUID
	for {
		p, err := l.decidePeople(ctx, kind, items, wanted)
		if err != nil {
			return err
		}
		switch {
		case len(p.d.wanted) > 0:
			wanted = append(wanted, p.d.wanted...)
		case slices.ContainsFunc(same, func(it *item) bool { return p.d.reloaded[it.change.SourceID] }):
			items, same = append(slices.Clone(items), same...), nil
			slices.SortStableFunc(items, func(a, b *item) int { return cmp.Compare(a.place, b.place) })
		default:
			return p.write(ctx)
		}
	}
}

// decidePeople decides where the objects go and writes nothing.
func (l *loader) decidePeople(ctx context.Context, kind record.Kind, items []*item, wanted []record.UUID) (*people, error) {
	var ids []string
	var claims []claim
	for _, it := range items {
		ids = append(ids, it.change.SourceID)
		if g := it.change.Gone; g != nil && g.MergedInto != "" {
			ids = append(ids, g.MergedInto)
		} else if g == nil {
			claims = append(claims, it.claim())
		}
	}
	known, err := l.tombstones(ctx, kind, sourceIDs(items))
	if err != nil {
		return nil, err
	}
	for _, t := range known {
		if t.Into != "" {
			ids = append(ids, t.Into)
		}
	}
	if known == nil {
		known = make(map[string]tombstone)
	}
	d, err := l.readIdentity(ctx, kind, ids, claims, wanted...)
	if err != nil {
		return nil, err
	}
	p := &people{l: l, kind: kind, d: d, buried: make(map[string]tombstone)}
	for _, it := range items {
		if it.change.Gone != nil {
			p.bury(it, known)
			continue
		}
		p.arrive(it, claims[0], known)
		claims = claims[1:]
	}
	return p, nil
}

// claim reads what a contact or company says about who it is.
func (it *item) claim() claim {
	if r := it.change.EndUser; r != nil {
		c := claim{ID: it.change.SourceID, External: r.ExternalID, Email: r.EmailKey, Updated: it.version.UpdatedAt}
		if r.Role == "user" {
			c.Rank = 1
		}
		return c
	}
	return claim{ID: it.change.SourceID, External: it.change.Company.ExternalID, Updated: it.version.UpdatedAt}
}

func (m *member) version() record.Version {
	return record.Version{UpdatedAt: m.Updated, FetchedAt: m.Fetched}
}

// arrive decides what a state does.
func (p *people) arrive(it *item, c claim, known map[string]tombstone) {
	d, m := p.d, p.d.members[c.ID]
	loaded := m != nil && !m.Fetched.IsZero()
	if loaded && d.rows[m.Row] != nil && m.Hash == it.head().Hash && !p.l.rewrite && !d.older(m) {
		it.outcome = equal
		return
	}
	if loaded && p.l.outdated(it.version, m.version()) {
		it.outcome = stale
		return
	}
	var gone time.Time
	var into string
	if t, ok := known[c.ID]; ok && t.version().Ends(it.version) {
		if m != nil && m.Reason == reasonMerged {
			it.outcome = stale // it is the survivor's row that counts
			return
		}
		gone, into = t.At, t.Into
	}
	m, created := d.bind(c, it.version.UpdatedAt)
	b := d.rows[m.Row]
	if p.l.rewrite && c.External == "" && d.alone(m, b) {
		d.release(b)
	}
	m.Gone, m.Into = gone, into
	m.Hash, m.Fetched = it.head().Hash, it.version.FetchedAt
	d.settle(b)
	if into != "" {
		d.followers[into] = append(d.followers[into], m.ID)
	}
	if r := it.change.Company; r != nil {
		if !m.LastRequest.Equal(r.LastRequestAt) {
			p.asked = append(p.asked, m.ID)
		}
		m.LastRequest = r.LastRequestAt
	} else {
		m.Companies = it.change.EndUser.Companies
	}
	anew := b.Stale && !b.Native
	a := arrival{it: it, m: m, b: b, wins: anew || d.wins(m), sole: anew || d.single(m, b), wave: b.waves}
	a.owns = a.sole && !b.Native
	b.Stale = b.Stale && !anew
	if a.wins {
		b.Content, b.bare = m.ID, false
	} else if b.Content == m.ID {
		d.reload(b, m)
	}
	if a.owns || c.Email != "" && (a.wins || b.Email == "") {
		b.Email = c.Email
		d.addEmail(b)
	}
	if !b.fresh && a.wave == 0 {
		a.wave = 1
	}
	b.waves = a.wave + 1
	it.outcome = updated
	if created && b.fresh {
		it.outcome = inserted
	}
	p.arrivals = append(p.arrivals, a)
}

// bury decides what a tombstone does.
func (p *people) bury(it *item, known map[string]tombstone) {
	k := known[it.change.SourceID]
	t := k.and(tombstoneOf(it))
	if t == k && !p.l.rewrite {
		it.outcome = equal
		return
	}
	known[t.ID] = t
	p.buried[t.ID] = t
	m := p.d.members[t.ID]
	if m != nil && !m.Fetched.IsZero() && !p.l.ends(t, m.version()) {
		it.outcome = stale
		return
	}
	it.outcome = equal
	if p.d.bury(t) && m != nil {
		it.outcome = deleted
	}
}

// write makes the decisions durable.
func (p *people) write(ctx context.Context) error {
	if err := p.l.keepTombstones(ctx, p.kind, slices.Collect(maps.Values(p.buried))); err != nil {
		return err
	}
	if len(p.d.touched) == 0 {
		return nil
	}
	if p.kind == record.KindContact {
		if err := p.decideCompanies(ctx); err != nil {
			return err
		}
	}
	if err := p.fixRows(ctx); err != nil {
		return err
	}
	if err := p.writeContent(ctx); err != nil {
		return err
	}
	if err := p.writeBare(ctx); err != nil {
		return err
	}
	if err := p.writeMembers(ctx); err != nil {
		return err
	}
	if p.kind == record.KindContact {
		if err := p.listCompanies(ctx); err != nil {
			return err
		}
		return p.l.relinkContacts(ctx, p.d)
	}
	return p.l.relinkCompanies(ctx, p.d, p.asked)
}

// decideCompanies sets the company of every end user that was touched.
func (p *people) decideCompanies(ctx context.Context) error {
	var ids []string
	seen := make(map[string]bool)
	for _, b := range p.d.touched {
		for _, m := range b.members {
			for _, id := range m.Companies {
				if !seen[id] {
					seen[id] = true
					ids = append(ids, id)
				}
			}
		}
	}
	refs, err := p.l.companyRefs(ctx, ids)
	if err != nil {
		return err
	}
	for _, b := range p.d.touched {
		b.Company = b.companyOf(refs)
	}
	p.d.companies = refs
	return nil
}

// fixRows brings external ids, deletion marks and companies of rows that are there up to date.
func (p *people) fixRows(ctx context.Context) error {
	taken := make(map[string]record.UUID)
	for _, b := range p.d.touched {
		if b.External != "" && (b.fresh || b.External != b.was.External) {
			taken[b.External] = b.ID
		}
	}
	var free, ids, companies []record.UUID
	var external []string
	var gone []*time.Time
	var native []bool
	for _, b := range p.d.touched {
		if b.fresh || b.External == b.was.External && b.Deleted.Equal(b.was.Deleted) && b.Company == b.was.Company {
			continue
		}
		if heir, ok := taken[b.was.External]; ok && b.was.External != b.External && heir != b.ID {
			free = append(free, b.ID)
		}
		ids, external, gone = append(ids, b.ID), append(external, b.External), append(gone, orNil(b.Deleted))
		companies, native = append(companies, b.Company), append(native, b.Native)
	}
	table := "public." + p.kind.Table()
	if err := p.l.keep(ctx, imagesOf(p.kind.Table()), ids); err != nil {
		return err
	}
	if len(free) > 0 {
		// The index on external ids is checked row by row, so what another row takes over is given up first.
		_, err := p.l.conn.Exec(ctx, `UPDATE `+table+` e SET external_id = NULL FROM unnest($2::uuid[]) AS k(id) WHERE e.org_id = $1 AND e.id = k.id`, p.l.org, free)
		if err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		return nil
	}
	company := ""
	if p.kind == record.KindContact {
		company = ", company_id = nullif(k.company, '00000000-0000-0000-0000-000000000000')"
	}
	_, err := p.l.conn.Exec(ctx, `UPDATE `+table+` e SET external_id = nullif(k.external, ''), run_id = $2,
			deleted_at = CASE WHEN k.native THEN e.deleted_at ELSE k.gone END`+company+`
		FROM unnest($3::uuid[], $4::text[], $5::timestamptz[], $6::uuid[], $7::boolean[]) AS k(id, external, gone, company, native)
		WHERE e.org_id = $1 AND e.id = k.id`, p.l.org, p.l.run.ID, ids, external, gone, companies, native)
	return err
}

// writeContent makes the new rows and merges what came for others into them, one object per row at a time.
func (p *people) writeContent(ctx context.Context) error {
	t, update := p.l.targets.companies, companyUpdate
	if p.kind == record.KindContact {
		t, update = p.l.targets.endUsers, endUserUpdate
	}
	last := -1
	for _, a := range p.arrivals {
		last = max(last, a.wave)
	}
	buf := &p.l.scratch.rows
	for wave := 0; wave <= last; wave++ {
		cols := t.columns
		if wave > 0 {
			cols = t.withExtra
		}
		buf.reset(cols)
		for _, a := range p.arrivals {
			if a.wave != wave {
				continue
			}
			s := p.l.stamp(a.it, a.b.Deleted)
			if r := a.it.change.EndUser; r != nil {
				encodeEndUser(buf, a.b.ID, a.b.Company, a.b.External, r, s)
			} else {
				encodeCompany(buf, a.b.ID, a.b.External, a.it.change.Company, s)
			}
			if wave > 0 {
				buf.bool(a.wins)
				buf.bool(a.sole)
				buf.bool(a.owns)
			}
		}
		if buf.rows == 0 {
			continue
		}
		if wave == 0 {
			if err := p.l.copyDirect(ctx, t, buf); err != nil {
				return err
			}
			continue
		}
		if err := p.l.copyTemp(ctx, t, buf); err != nil {
			return err
		}
		if err := p.l.keepTemp(ctx, t); err != nil {
			return err
		}
		tag, err := p.l.conn.Exec(ctx, update, p.l.org)
		if err != nil {
			return err
		}
		if n := tag.RowsAffected(); n != int64(buf.rows) {
			return interfered("%d of %d rows of %s were there to be updated", n, buf.rows, t.name)
		}
	}
	return nil
}

// writeBare says of rows that show none of their objects as they were loaded what they stand for: the object that is to be loaded again and then shown, or
// none. Their digest is nobody's.
func (p *people) writeBare(ctx context.Context) error {
	var ids []record.UUID
	var shown []string
	var at []*time.Time
	for _, b := range p.d.touched {
		if !b.bare {
			continue
		}
		ids, shown, at = append(ids, b.ID), append(shown, b.Content), append(at, orNil(b.since))
	}
	if len(ids) == 0 {
		return nil
	}
	if err := p.l.keep(ctx, imagesOf(p.kind.Table()), ids); err != nil {
		return err
	}
	_, err := p.l.conn.Exec(ctx, `UPDATE public.`+p.kind.Table()+` e SET source_id = nullif(k.shown, ''), source_updated_at = k.at, content_hash = NULL, run_id = $2
		FROM unnest($3::uuid[], $4::text[], $5::timestamptz[]) AS k(id, shown, at) WHERE e.org_id = $1 AND e.id = k.id`, p.l.org, p.l.run.ID, ids, shown, at)
	return err
}

// writeMembers stores the bindings that changed.
func (p *people) writeMembers(ctx context.Context) error {
	t, buf := p.l.targets.idMap, &p.l.scratch.rows
	buf.reset(t.columns)
	var held []string
	for _, m := range p.d.members {
		if !m.dirty {
			continue
		}
		buf.row()
		buf.uuid(p.l.org)
		buf.text(string(p.kind))
		buf.text(m.ID)
		buf.uuid(m.Row)
		buf.text(m.Reason)
		buf.int2(m.Rank)
		buf.time(m.Updated)
		buf.nullDigest(m.Hash)
		buf.time(m.LastRequest)
		buf.time(m.Gone)
		buf.time(m.Fetched)
		buf.nullText(m.External)
		buf.texts(m.Companies)
		buf.nullText(m.Into)
		buf.bool(m.Native)
		buf.nullText(m.Field)
		buf.uuid(p.l.run.ID)
		if m.stored {
			held = append(held, m.ID)
		}
	}
	if buf.rows == 0 {
		return nil
	}
	if len(held) > 0 {
		x := images.idMap
		_, err := p.l.conn.Exec(ctx, x.insert(x.byKey("unnest($3::text[]) AS k(id)", "t.kind = $4::text AND t.source_id = k.id")), p.l.org, p.l.run.ID, held, string(p.kind))
		if err != nil {
			return err
		}
	}
	if err := p.l.copyTemp(ctx, t, buf); err != nil {
		return err
	}
	const key = "org_id, kind, source_id"
	_, err := p.l.conn.Exec(ctx, t.upsert(key, t.setting("org_id", "kind", "source_id"), "true", "NULL"), p.l.org)
	return err
}

// listCompanies keeps, for the contacts that came, the companies among which the choice can change: where there are several, or where one is
// not known yet.
func (p *people) listCompanies(ctx context.Context) error {
	var changed, contacts, companies []string
	seen := make(map[string]bool)
	for _, a := range p.arrivals {
		if seen[a.m.ID] {
			continue
		}
		seen[a.m.ID] = true
		changed = append(changed, a.m.ID)
		open := len(a.m.Companies) > 1
		for _, id := range a.m.Companies {
			if _, known := p.d.companies[id]; !known {
				open = true
			}
		}
		if !open {
			continue
		}
		for _, id := range a.m.Companies {
			contacts, companies = append(contacts, a.m.ID), append(companies, id)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	_, err := p.l.remove(ctx, images.contactCompanies, "unnest($3::text[]) AS k(id)", `t.contact_id = k.id
		AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS n(contact, company) WHERE n.contact = t.contact_id AND n.company = t.company_id)`,
		changed, contacts, companies)
	if err != nil || len(contacts) == 0 {
		return err
	}
	_, err = p.l.conn.Exec(ctx, `INSERT INTO ingest.contact_companies (org_id, contact_id, company_id, run_id)
		SELECT $1, k.contact, k.company, $4 FROM unnest($2::text[], $3::text[]) AS k(contact, company) ON CONFLICT DO NOTHING`, p.l.org, contacts, companies, p.l.run.ID)
	return err
}
