package postgres

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Conversations. New ones are copied straight into the table; changed ones go through a temp table and are merged if they are
// newer than what another writer may have put there meanwhile; equal ones are not sent. The order of two states is that of record.Version, of which
// the row keeps both parts: source_updated_at and, in updated_at, when it was read.

// pending is an item that is to be written, with what was found of its row.
type pending struct {
	it    *item
	found bool
	// only says that the row is the same and only its knowledge is not.
	only bool
	gone tombstone // zero if the object is there
	link linkage
	wait []waits
}

func (l *loader) loadTranscripts(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	found, err := l.probe(ctx, probeTranscripts, items)
	if err != nil {
		return err
	}
	if err := l.complete(ctx, items, found); err != nil {
		return err
	}
	work := make([]pending, 0, len(items))
	for i, it := range items {
		f := &found[i]
		p := pending{it: it, found: f.found}
		if f.found {
			same := f.hash == it.transcript.Hash && !l.rewrite
			p.only = same
			switch {
			case same && (f.gone || f.knowledge == it.transcript.KnowledgeHash):
				it.outcome = equal
				continue
			case l.outdated(it.version, f.version):
				it.outcome = stale
				continue
			}
		}
		work = append(work, p)
	}
	if len(work) == 0 {
		return nil
	}
	if err := l.markGone(ctx, record.KindConversation, work); err != nil {
		return err
	}
	if err := l.linkTranscripts(ctx, work); err != nil {
		return err
	}
	if err := l.fault("probed"); err != nil {
		return err
	}
	return l.writeTranscripts(ctx, work)
}

// complete adds to conversations of which only the newest parts came those that are held already, and counts and seals them anew. Rows
// that are found to say the same then are not locked.
func (l *loader) complete(ctx context.Context, items []*item, found []stored) error {
	at := make(map[record.UUID]int)
	var ids []record.UUID
	for i, it := range items {
		r := it.transcript
		if !r.Complete && found[i].found && (found[i].hash != r.Hash || l.rewrite) && !l.outdated(it.version, found[i].version) {
			ids = append(ids, r.ID)
			at[r.ID] = i
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := l.conn.Query(ctx, `SELECT t.id, t.messages FROM unnest($2::uuid[]) AS k(id) JOIN public.transcripts t ON t.org_id = $1 AND t.id = k.id`, l.org, ids)
	if err != nil {
		return err
	}
	var changed []record.UUID
	var id record.UUID
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), &raw}, func() error {
		i := at[id]
		if err := items[i].join(raw, l.encoder); err != nil {
			return err
		}
		if items[i].transcript.Hash != found[i].hash || l.rewrite {
			changed = append(changed, id)
		}
		return nil
	})
	if err != nil || len(changed) == 0 {
		return err
	}
	// What was joined must still be what is there when it is written.
	rows, err = l.conn.Query(ctx, `SELECT t.id, t.content_hash FROM public.transcripts t WHERE t.org_id = $1 AND t.id = ANY ($2) ORDER BY t.id FOR UPDATE`, l.org, changed)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), &raw}, func() error {
		if hash := found[at[id]].hash; !bytes.Equal(raw, hash[:]) {
			return interfered("transcript %s was changed while it was read", id)
		}
		return nil
	})
	return err
}

// join replaces the item's transcript by one that has the held messages as well.
func (it *item) join(raw []byte, e *record.Encoder) error {
	held, err := record.ParseMessages(raw)
	if err != nil {
		return &encodeError{Column: "messages", Reason: "the stored ones cannot be read: " + err.Error()}
	}
	came, err := record.ParseMessages(it.transcript.MessagesJSON)
	if err != nil {
		return &encodeError{Column: "messages", Reason: err.Error()}
	}
	all := record.UnionMessages(held, came)
	if len(all) == len(came) {
		return nil
	}
	r := *it.transcript
	r.Messages = all
	r.MessagesJSON = record.AppendMessages(nil, all)
	r.MessageCount += len(all) - len(came)
	r.Complete = r.ExpectedMessageCount > 0 && r.MessageCount >= r.ExpectedMessageCount
	r.Seal(e)
	it.transcript = &r
	return nil
}

// markGone finds the tombstones that end the states that came: such a row is written, but as deleted.
func (l *loader) markGone(ctx context.Context, kind record.Kind, work []pending) error {
	if some, err := l.some(ctx, probeSomeGone, string(kind)); err != nil || !some {
		return err
	}
	ids := l.scratch.ids[:0]
	for i := range work {
		ids = append(ids, work[i].it.change.SourceID)
	}
	l.scratch.ids = ids
	l.scratch.keys = appendTexts(l.scratch.keys[:0], ids)
	s := probeGoneConversations
	if kind == record.KindTicket {
		s = probeGoneTickets
	}
	return l.each(ctx, s, l.scratch.keys, len(ids), func(i int, v [][]byte) error {
		t := tombstone{ID: ids[i]}
		var err error
		if t.At, err = decodeTime(v[1]); err != nil {
			return err
		}
		if t.Fetched, err = decodeTime(v[2]); err != nil {
			return err
		}
		if t.version().Ends(work[i].it.version) {
			work[i].gone = t
		}
		return nil
	})
}

// linkTranscripts looks up what the conversations refer to.
func (l *loader) linkTranscripts(ctx context.Context, work []pending) error {
	if err := l.lookUp(ctx, work, func(it *item) (string, string) { return it.transcript.ContactID, it.transcript.CompanyID }); err != nil {
		return err
	}
	for i := range work {
		p := &work[i]
		r := p.it.transcript
		if r.ContactID == "" || !p.link.endUser.IsZero() || p.gone.ID != "" {
			continue
		}
		for j := range p.wait {
			if p.wait[j].kind != record.KindContact {
				continue
			}
			var err error
			if p.wait[j].knowledge, err = withheld(p.it.change.Knowledge); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookUp sets the end user and company of the items, and what they wait for.
func (l *loader) lookUp(ctx context.Context, work []pending, of func(*item) (contact, company string)) error {
	s := l.scratch
	if s.contacts == nil {
		s.contacts, s.companies = make(map[string]ref), make(map[string]ref)
	}
	clear(s.contacts)
	clear(s.companies)
	contacts, companies := s.ids[:0], []string(nil)
	for i := range work {
		contact, company := of(work[i].it)
		if _, twice := s.contacts[contact]; contact != "" && !twice {
			s.contacts[contact] = ref{}
			contacts = append(contacts, contact)
		}
		if _, twice := s.companies[company]; company != "" && !twice {
			s.companies[company] = ref{}
			companies = append(companies, company)
		}
	}
	s.ids = contacts
	if err := l.refs(ctx, probeContacts, contacts, s.contacts); err != nil {
		return err
	}
	if err := l.refs(ctx, probeCompanies, companies, s.companies); err != nil {
		return err
	}
	for i := range work {
		p := &work[i]
		contact, company := of(p.it)
		table, row := p.it.change.Kind.Table(), p.it.rowID()
		user := s.contacts[contact]
		p.link.endUser, p.link.company = user.row, user.company
		if contact != "" && user.row.IsZero() {
			p.wait = append(p.wait, waits{kind: record.KindContact, id: contact, table: table, row: row})
		}
		if company == "" {
			continue
		}
		p.link.company = s.companies[company].row
		if p.link.company.IsZero() {
			p.wait = append(p.wait, waits{kind: record.KindCompany, id: company, table: table, row: row})
		}
	}
	return nil
}

// writeTranscripts writes rows, what they wait for and their knowledge.
func (l *loader) writeTranscripts(ctx context.Context, work []pending) error {
	t := l.targets.transcripts
	if err := l.insertNew(ctx, t, work, l.encodeTranscript); err != nil {
		return err
	}
	if err := l.mergeChanged(ctx, t, work, l.encodeTranscript); err != nil {
		return err
	}
	if err := l.touchKnowledge(ctx, work); err != nil {
		return err
	}
	var changed []record.UUID
	var list []waits
	var fresh, replaced []knowledgeSet
	var made []string
	for i := range work {
		p := &work[i]
		it := p.it
		if it.outcome != inserted && it.outcome != updated {
			continue
		}
		set := knowledgeSet{transcript: it.rowID(), source: it.change.SourceID, link: p.link}
		if !p.link.endUser.IsZero() && p.gone.ID == "" {
			set.rows = it.change.Knowledge
		}
		list = append(list, p.wait...)
		if it.outcome == inserted {
			made = append(made, it.change.SourceID)
		}
		if it.outcome == inserted && !l.rewrite {
			fresh = append(fresh, set)
			continue
		}
		changed = append(changed, it.rowID())
		replaced = append(replaced, set)
	}
	if err := l.pend(ctx, "transcripts", changed, list); err != nil {
		return err
	}
	if err := l.replaceKnowledge(ctx, fresh, replaced); err != nil {
		return err
	}
	return l.linkTickets(ctx, made)
}

func (l *loader) encodeTranscript(buf *copyBuffer, p *pending) {
	encodeTranscript(buf, p.it.transcript, p.link, l.stamp(p.it, p.gone.At))
}

// insertNew copies the rows that were not found into the table.
func (l *loader) insertNew(ctx context.Context, t *target, work []pending, encode func(*copyBuffer, *pending)) error {
	if l.careful {
		return nil
	}
	buf := &l.scratch.rows
	buf.reset(t.columns)
	for i := range work {
		if p := &work[i]; !p.found {
			encode(buf, p)
			p.it.outcome = inserted
		}
	}
	if buf.rows == 0 {
		return nil
	}
	return l.copyDirect(ctx, t, buf)
}

// mergeChanged merges what is left: rows that were found with other content, and in careful mode all. A row that has become newer since the probe is
// left alone.
func (l *loader) mergeChanged(ctx context.Context, t *target, work []pending, encode func(*copyBuffer, *pending)) error {
	buf := &l.scratch.rows
	buf.reset(t.columns)
	index := make(map[record.UUID]*pending)
	for i := range work {
		if p := &work[i]; p.it.outcome == 0 && !p.only {
			encode(buf, p)
			index[p.it.rowID()] = p
		}
	}
	if buf.rows == 0 {
		return nil
	}
	if err := l.copyTemp(ctx, t, buf); err != nil {
		return err
	}
	if err := l.keepTemp(ctx, t); err != nil {
		return err
	}
	const newer = `(coalesce(excluded.source_updated_at, '-infinity'), excluded.updated_at) >= (coalesce(t.source_updated_at, '-infinity'), t.updated_at)`
	where := newer + " AND t.content_hash IS DISTINCT FROM excluded.content_hash"
	if l.rewrite {
		where = "excluded.updated_at >= t.updated_at" // see outdated
	}
	rows, err := l.conn.Query(ctx, t.upsert("org_id, id", t.setting("org_id", "id", "created_at"), where, "t.id, t.xmax = 0"), l.org)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id record.UUID
		var made bool
		if err := rows.Scan((*[16]byte)(&id), &made); err != nil {
			return err
		}
		p := index[id]
		if p == nil {
			return invariant("the merge into %s returned row %s, which was not sent", t.name, id)
		}
		p.it.outcome = updated
		if made {
			p.it.outcome = inserted
		}
	}
	for _, p := range index {
		if p.it.outcome == 0 {
			p.it.outcome = stale
		}
	}
	return rows.Err()
}

// touchKnowledge notes the new knowledge of rows that are the same otherwise.
func (l *loader) touchKnowledge(ctx context.Context, work []pending) error {
	index := make(map[record.UUID]*pending)
	var ids []record.UUID
	var have, want [][]byte
	for i := range work {
		if p := &work[i]; p.only && p.it.outcome == 0 {
			r := p.it.transcript
			index[r.ID] = p
			ids, have, want = append(ids, r.ID), append(have, r.Hash[:]), append(want, r.KnowledgeHash[:])
		}
	}
	if len(ids) == 0 {
		return nil
	}
	done, err := l.change(ctx, "transcripts", "knowledge_hash = k.want, run_id = $2::uuid", `unnest($3::uuid[], $4::bytea[], $5::bytea[]) AS k(id, have, want)`,
		"t.id = k.id AND t.content_hash = k.have AND t.deleted_at IS NULL", ids, have, want)
	if err != nil {
		return err
	}
	for _, id := range done {
		index[id].it.outcome = updated
	}
	for _, p := range index {
		if p.it.outcome == 0 {
			p.it.outcome = stale
		}
	}
	return nil
}

var (
	probeGoneConversations = statement{"haloingest_probe_gone_conversations", goneSQL("conversation")}
	probeGoneTickets       = statement{"haloingest_probe_gone_tickets", goneSQL("ticket")}
)

func goneSQL(kind string) string {
	return `SELECT k.i, t.* FROM unnest($2::text[]) WITH ORDINALITY AS k(id, i) CROSS JOIN LATERAL (
		SELECT t.gone_at, t.fetched_at FROM ingest.tombstones t WHERE t.org_id = $1 AND t.kind = '` + kind + `' AND t.source_id = k.id OFFSET 0) t`
}
