package postgres

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Links. A transcript or ticket has the end user that its contact is bound to and the company that it names itself, or else
// its end user's (source_company_id is NULL then, which is how these rows are known when the end user's company changes). What is
// not known yet stays NULL and is noted in ingest.pending_links; the transaction in which the contact, company or conversation arrives
// repairs it. Knowledge has the links of its transcript, always.

// waits is a row that waits for an object.
type waits struct {
	kind  record.Kind // what it waits for
	id    string
	table string
	row   record.UUID
	// knowledge waits as well (contact only), as JSON; nil if there is none.
	knowledge []byte
}

// pend notes what rows wait for, in place of what was noted for them before. fresh rows cannot have anything noted.
func (l *loader) pend(ctx context.Context, table string, changed []record.UUID, list []waits) error {
	if len(changed) > 0 {
		_, err := l.remove(ctx, images.pendingLinks, "unnest($3::uuid[]) AS k(id)", "t.table_name = $4::text AND t.row_id = k.id", changed, table)
		if err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	var kinds, ids []string
	var rows []record.UUID
	var knowledge []*string
	for _, w := range list {
		kinds, ids, rows = append(kinds, string(w.kind)), append(ids, w.id), append(rows, w.row)
		var text *string
		if w.knowledge != nil {
			s := string(w.knowledge)
			text = &s
		}
		knowledge = append(knowledge, text)
	}
	// What is there already is of a row that was gone in between.
	_, err := l.conn.Exec(ctx, `INSERT INTO ingest.pending_links (org_id, ref_kind, ref_id, table_name, row_id, knowledge, run_id)
		SELECT $1, k.kind, k.id, $2, k.row, k.knowledge::jsonb, $7 FROM unnest($3::text[], $4::text[], $5::uuid[], $6::text[]) AS k(kind, id, row, knowledge)
		ON CONFLICT (org_id, ref_kind, ref_id, table_name, row_id) DO UPDATE SET knowledge = excluded.knowledge, run_id = excluded.run_id`,
		l.org, table, kinds, ids, rows, knowledge, l.run.ID)
	return err
}

// dropWithheld forgets the knowledge that waits with these transcripts; their links still wait.
func (l *loader) dropWithheld(ctx context.Context, transcripts []record.UUID) error {
	x := images.pendingLinks
	_, err := l.conn.Exec(ctx, x.insert(x.byKey("unnest($3::uuid[]) AS k(id)", "t.table_name = 'transcripts' AND t.row_id = k.id")+" AND t.knowledge IS NOT NULL"),
		l.org, l.run.ID, transcripts)
	if err != nil {
		return err
	}
	_, err = l.conn.Exec(ctx, `UPDATE ingest.pending_links p SET knowledge = NULL FROM unnest($2::uuid[]) AS k(id)
		WHERE p.org_id = $1 AND p.table_name = 'transcripts' AND p.row_id = k.id AND p.knowledge IS NOT NULL`, l.org, transcripts)
	return err
}

var takeLinks = images.pendingLinks.removing("unnest($3::text[]) AS k(id)", "t.ref_kind = $4::text AND t.ref_id = k.id", "t.table_name, t.ref_id, t.row_id, t.knowledge")

// take removes and returns what waits for the objects, by table.
func (l *loader) take(ctx context.Context, kind record.Kind, ids []string) (map[string][]waits, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := l.conn.Query(ctx, takeLinks, l.org, l.run.ID, ids, string(kind))
	if err != nil {
		return nil, err
	}
	taken := make(map[string][]waits)
	w := waits{kind: kind}
	_, err = pgx.ForEachRow(rows, []any{&w.table, &w.id, (*[16]byte)(&w.row), &w.knowledge}, func() error {
		x := w
		x.knowledge = slices.Clone(w.knowledge)
		taken[w.table] = append(taken[w.table], x)
		return nil
	})
	return taken, err
}

// linked are the tables whose rows have an end user and a company.
var linked = [...]string{"transcripts", "tickets"}

// relinkContacts carries through what the identity map has decided: rows that waited for a contact get it, rows of a contact that went to another
// row follow, and so do rows that have their company from an end user whose company has changed.
func (l *loader) relinkContacts(ctx context.Context, d *identity) error {
	taken, err := l.take(ctx, record.KindContact, d.arrived)
	if err != nil {
		return err
	}
	var touched []record.UUID // transcripts
	for _, table := range linked {
		var ids, to []record.UUID
		var contacts []string
		for _, w := range taken[table] {
			ids, contacts, to = append(ids, w.row), append(contacts, w.id), append(to, d.members[w.id].Row)
		}
		if len(ids) > 0 {
			rows, err := l.change(ctx, table, setEndUser, `unnest($3::uuid[], $4::text[], $5::uuid[]) AS k(id, contact, dst) JOIN public.end_users e ON e.org_id = $1::uuid AND e.id = k.dst`,
				"t.id = k.id AND t.source_contact_id = k.contact", ids, contacts, to)
			if touched, err = also(table, touched, rows, err); err != nil {
				return err
			}
		}
		if touched, err = l.followContacts(ctx, table, d, touched); err != nil {
			return err
		}
	}
	if err := l.followCompanies(ctx, d, &touched); err != nil {
		return err
	}
	if err := l.rescope(ctx, touched); err != nil {
		return err
	}
	return l.release(ctx, taken["transcripts"])
}

// setEndUser links a row to end user e, and to its company unless it names one itself.
const setEndUser = "end_user_id = e.id, company_id = CASE WHEN t.source_company_id IS NULL THEN e.company_id ELSE t.company_id END"

// followContacts moves the rows of contacts that were bound to another row.
func (l *loader) followContacts(ctx context.Context, table string, d *identity, touched []record.UUID) ([]record.UUID, error) {
	// An object can have moved twice in one batch; each step is done on its own.
	for _, m := range d.moves {
		rows, err := l.change(ctx, table, setEndUser, "public.end_users e",
			"t.end_user_id = $4::uuid AND t.source_contact_id = $3::text AND e.org_id = $1::uuid AND e.id = $5::uuid", m.ID, m.From, m.To)
		if touched, err = also(table, touched, rows, err); err != nil {
			return nil, err
		}
	}
	return touched, nil
}

// followCompanies gives the rows that have their company from one of the end users that were touched its present one.
func (l *loader) followCompanies(ctx context.Context, d *identity, touched *[]record.UUID) error {
	var changed []record.UUID
	for id, b := range d.touched {
		if !b.fresh && b.Company != b.was.Company {
			changed = append(changed, id)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	for _, table := range linked {
		rows, err := l.change(ctx, table, "company_id = e.company_id", `unnest($3::uuid[]) AS k(id) JOIN public.end_users e ON e.org_id = $1::uuid AND e.id = k.id`,
			`t.end_user_id = k.id AND t.source_contact_id IS NOT NULL AND t.source_company_id IS NULL AND t.company_id IS DISTINCT FROM e.company_id`, changed)
		if *touched, err = also(table, *touched, rows, err); err != nil {
			return err
		}
	}
	return nil
}

// relinkCompanies does the same for companies: end users whose choice of a company may change (asked: companies whose last
// request has), rows that waited for a company, and rows of a company that went to another row.
func (l *loader) relinkCompanies(ctx context.Context, d *identity, asked []string) error {
	changed := slices.Concat(d.arrived, asked)
	var moved []string
	for _, m := range d.moves {
		moved = append(moved, m.ID)
	}
	if err := l.redecide(ctx, slices.Concat(changed, moved), moved); err != nil {
		return err
	}
	taken, err := l.take(ctx, record.KindCompany, d.arrived)
	if err != nil {
		return err
	}
	var touched []record.UUID
	for _, table := range linked {
		var ids, to []record.UUID
		var companies []string
		for _, w := range taken[table] {
			ids, companies, to = append(ids, w.row), append(companies, w.id), append(to, d.members[w.id].Row)
		}
		if len(ids) > 0 {
			rows, err := l.change(ctx, table, "company_id = k.dst", `unnest($3::uuid[], $4::text[], $5::uuid[]) AS k(id, company, dst)`,
				"t.id = k.id AND t.source_company_id = k.company", ids, companies, to)
			if touched, err = also(table, touched, rows, err); err != nil {
				return err
			}
		}
		// There is no index for this. It is rare: two companies that had one external id, or a new one that another has.
		for _, m := range d.moves {
			rows, err := l.change(ctx, table, "company_id = k.dst", "(SELECT $5::uuid AS dst) k", "t.company_id = $4::uuid AND t.source_company_id = $3::text", m.ID, m.From, m.To)
			if touched, err = also(table, touched, rows, err); err != nil {
				return err
			}
		}
	}
	return l.rescope(ctx, touched)
}

// redecide chooses the company of the end users anew that have one of the companies among others or have waited for it, and of all that
// have one that has moved.
func (l *loader) redecide(ctx context.Context, companies, moved []string) error {
	if len(companies) == 0 {
		return nil
	}
	rows, err := l.conn.Query(ctx, `SELECT DISTINCT c.contact_id FROM unnest($2::text[]) AS k(id)
		JOIN ingest.contact_companies c ON c.org_id = $1 AND c.company_id = k.id`, l.org, companies)
	if err != nil {
		return err
	}
	contacts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(moved) > 0 {
		rows, err := l.conn.Query(ctx, `SELECT m.source_id FROM ingest.id_map m WHERE m.org_id = $1 AND m.kind = 'contact' AND m.companies && $2::text[]`, l.org, moved)
		if err != nil {
			return err
		}
		more, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		contacts = append(contacts, more...)
	}
	if len(contacts) == 0 {
		return nil
	}
	d, err := l.readIdentity(ctx, record.KindContact, contacts, nil)
	if err != nil {
		return err
	}
	maps.Copy(d.touched, d.rows)
	p := &people{l: l, kind: record.KindContact, d: d}
	if err := p.decideCompanies(ctx); err != nil {
		return err
	}
	if err := p.fixRows(ctx); err != nil {
		return err
	}
	var touched []record.UUID
	if err := l.followCompanies(ctx, d, &touched); err != nil {
		return err
	}
	return l.rescope(ctx, touched)
}

// linkTickets gives the tickets that have waited for these conversations their transcript.
func (l *loader) linkTickets(ctx context.Context, conversations []string) error {
	if len(conversations) == 0 {
		return nil
	}
	if some, err := l.some(ctx, probeSomeWaiting, string(record.KindConversation)); err != nil || !some {
		return err
	}
	taken, err := l.take(ctx, record.KindConversation, conversations)
	if err != nil || len(taken["tickets"]) == 0 {
		return err
	}
	var ids, to []record.UUID
	for _, w := range taken["tickets"] {
		ids, to = append(ids, w.row), append(to, record.RowID(l.org, record.KindConversation, w.id))
	}
	_, err = l.change(ctx, "tickets", "transcript_id = k.dst", "unnest($3::uuid[], $4::uuid[]) AS k(id, dst)", "t.id = k.id", ids, to)
	return err
}

// rescope gives the knowledge of the transcripts their links.
func (l *loader) rescope(ctx context.Context, transcripts []record.UUID) error {
	if len(transcripts) == 0 {
		return nil
	}
	done, err := l.change(ctx, "knowledge", "end_user_id = v.end_user_id, company_id = v.company_id",
		`unnest($3::uuid[]) AS k(id) JOIN public.transcripts v ON v.org_id = $1::uuid AND v.id = k.id`,
		"t.transcript_id = k.id AND (t.end_user_id, t.company_id) IS DISTINCT FROM (v.end_user_id, v.company_id)", transcripts)
	l.counts.Add("load/knowledge/relinked", int64(len(done)))
	return err
}

// release writes the knowledge that waited for the contacts of its transcripts.
func (l *loader) release(ctx context.Context, list []waits) error {
	held := make(map[record.UUID][]byte)
	var ids []record.UUID
	for _, w := range list {
		if w.knowledge != nil {
			held[w.row] = w.knowledge
			ids = append(ids, w.row)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := l.conn.Query(ctx, `SELECT t.id, t.end_user_id, t.company_id FROM unnest($2::uuid[]) AS k(id)
		JOIN public.transcripts t ON t.org_id = $1 AND t.id = k.id WHERE t.deleted_at IS NULL AND t.end_user_id IS NOT NULL`, l.org, ids)
	if err != nil {
		return err
	}
	var sets []knowledgeSet
	var id [16]byte
	var user, company *[16]byte
	_, err = pgx.ForEachRow(rows, []any{&id, &user, &company}, func() error {
		s := knowledgeSet{transcript: id}
		s.link.endUser = *user
		if company != nil {
			s.link.company = *company
		}
		if err := json.Unmarshal(held[id], &s.rows); err != nil {
			return err
		}
		sets = append(sets, s)
		return nil
	})
	if err != nil {
		return err
	}
	return l.replaceKnowledge(ctx, nil, sets)
}

// also adds the ids of transcripts that were changed; those of other tables are left out.
func also(table string, touched, ids []record.UUID, err error) ([]record.UUID, error) {
	if err != nil {
		return nil, err
	}
	if table == "transcripts" {
		touched = append(touched, ids...)
	}
	return touched, nil
}
