package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// This test gives random histories to the sink, in random order, cut into random batches, with duplicates, and with crashes before and after
// COMMIT, and compares the tables with a model that never sees an order: it knows the set of all events and says in a few lines
// what must come of it. Contacts are told apart by their ids alone here; how they share rows is TestIdentity's matter.

// event is one state or tombstone of one object.
type event struct {
	kind     record.Kind
	id       string
	n, f     int  // when it was changed, and how long after that it was read
	gone     bool // a tombstone
	into     string
	contact  string // conversations and tickets
	company  string
	also     string   // tickets: the conversation that it also is
	asked    int      // companies: last request
	of       []string // contacts: companies
	learnt   []string // conversations: knowledge
	external string   // contacts
}

func (e *event) key() string { return string(e.kind) + " " + e.id }

func (e *event) title() string { return fmt.Sprintf("%s %d.%d", e.id, e.n, e.f) }

func (e *event) newer(o *event) bool {
	if o == nil {
		return true
	}
	a, b := [3]int{e.n, e.f, rank(e)}, [3]int{o.n, o.f, rank(o)}
	return slices.Compare(a[:], b[:]) > 0
}

func rank(e *event) int {
	if e.gone {
		return 1
	}
	return 0
}

func (e *event) fetched() time.Time { return at(100_000 + 10*e.n + e.f) }

func (e *event) change(org record.UUID) record.Change {
	var c record.Change
	switch {
	case e.gone && e.into != "":
		c = mergedChange(e.id, e.into, e.n)
	case e.gone:
		c = goneChange(e.kind, e.id, e.n)
	case e.kind == record.KindContact:
		c = contactChange(org, e.id, e.n, func(r *record.EndUserRow) { r.Name, r.Companies, r.ExternalID = e.title(), e.of, e.external })
	case e.kind == record.KindCompany:
		c = companyChange(org, e.id, e.n, func(r *record.CompanyRow) {
			r.Name = e.title()
			if e.asked > 0 {
				r.LastRequestAt = at(e.asked)
			}
		})
	case e.kind == record.KindConversation:
		c = conversationChange(org, e.id, e.contact, e.n, e.learnt, func(r *record.TranscriptRow) { r.Subject, r.CompanyID = e.title(), e.company })
	default:
		c = ticketChange(org, e.id, e.contact, e.n, func(r *record.TicketRow) {
			r.Subject, r.CompanyID, r.ConversationID = e.title(), e.company, e.also
		})
	}
	c.Version.FetchedAt = e.fetched()
	return c
}

// model is what must come of a set of events.
type model struct {
	state, end map[string]*event   // the newest of each object
	ends       map[string][]*event // all tombstones
	into       map[string]string   // contacts: merged into
}

func newModel(events []*event) *model {
	m := &model{state: map[string]*event{}, end: map[string]*event{}, ends: map[string][]*event{}, into: map[string]string{}}
	for _, e := range events {
		side := m.state
		if e.gone {
			side = m.end
			m.ends[e.key()] = append(m.ends[e.key()], e)
			if e.into != "" {
				m.into[e.id] = e.into
			}
		}
		if e.newer(side[e.key()]) {
			side[e.key()] = e
		}
	}
	return m
}

func (m *model) ended(kind record.Kind, id string) bool {
	k := string(kind) + " " + id
	s := m.state[k]
	for _, e := range m.ends[k] {
		// It went after the state was, or was found gone when or after the state was read, whatever the clocks say.
		if s == nil || e.n > s.n || 10*e.n+e.f >= 10*s.n+s.f {
			return true
		}
	}
	return false
}

func (m *model) merged(contact string) bool {
	return m.into[contact] != "" && m.ended(record.KindContact, contact)
}

// home is the contact whose row the contact is on, "" if it has none.
func (m *model) home(contact string) string {
	if m.merged(contact) {
		if h := m.home(m.into[contact]); h != "" {
			return h
		}
	}
	if m.state["contact "+contact] != nil {
		return contact
	}
	return ""
}

func (m *model) companyOf(contact string) string {
	best := ""
	for _, id := range m.state["contact "+contact].of {
		c := m.state["company "+id]
		if c == nil {
			continue
		}
		if best == "" || c.asked > m.state["company "+best].asked || c.asked == m.state["company "+best].asked && id < best {
			best = id
		}
	}
	return best
}

// goneAt is the mark of a row on which objs are.
func (m *model) goneAt(kind record.Kind, ids ...string) int {
	last := 0
	for _, id := range ids {
		if !m.ended(kind, id) {
			return 0
		}
		last = max(last, m.end[string(kind)+" "+id].n)
	}
	return last
}

// links are the end user and company of a conversation or ticket, by Intercom id.
func (m *model) links(e *event) (user, company string) {
	user = m.home(e.contact)
	switch {
	case e.company != "" && m.state["company "+e.company] != nil:
		company = e.company
	case e.company == "" && user != "":
		company = m.companyOf(user)
	}
	return user, company
}

// lines are all visible rows, in the form of the query in TestAnyHistory. The row that a merged contact left is not among them: whether it is
// there, as deleted, depends on whether the contact was ever seen.
func (m *model) lines(contacts []string) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for key, e := range m.state {
		switch e.kind {
		case record.KindCompany:
			add("company %s %s gone=%d", e.id, e.title(), m.goneAt(e.kind, e.id))
		case record.KindContact:
			if m.home(e.id) != e.id {
				continue
			}
			on := []string{e.id}
			for _, c := range contacts {
				if c != e.id && m.home(c) == e.id {
					on = append(on, c)
				}
			}
			add("contact %s %s x=%s company=%s gone=%d", e.id, e.title(), e.external, m.companyOf(e.id), m.goneAt(e.kind, on...))
		case record.KindConversation:
			user, company := m.links(e)
			gone := m.goneAt(e.kind, e.id)
			add("conversation %s %s user=%s company=%s gone=%d", e.id, e.title(), user, company, gone)
			if e.contact != "" && user == "" {
				add("waits %s for contact %s", key, e.contact)
			}
			if e.company != "" && company == "" {
				add("waits %s for company %s", key, e.company)
			}
			if user == "" || gone > 0 {
				continue
			}
			for i, text := range e.learnt {
				add("knowledge %s %d %s user=%s company=%s", e.id, i, text, user, company)
			}
		case record.KindTicket:
			user, company := m.links(e)
			also := ""
			if m.state["conversation "+e.also] != nil {
				also = e.also
			}
			add("ticket %s %s user=%s company=%s conversation=%s gone=%d", e.id, e.title(), user, company, also, m.goneAt(e.kind, e.id))
			if e.contact != "" && user == "" {
				add("waits %s for contact %s", key, e.contact)
			}
			if e.company != "" && company == "" {
				add("waits %s for company %s", key, e.company)
			}
			if e.also != "" && also == "" {
				add("waits %s for conversation %s", key, e.also)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

const worldSQL = `
WITH gone AS (SELECT timestamptz '2024-01-01 00:00:00Z' AS zero),
	u AS (SELECT * FROM end_users WHERE org_id = $1), c AS (SELECT * FROM companies WHERE org_id = $1),
	v AS (SELECT * FROM transcripts WHERE org_id = $1), t AS (SELECT * FROM tickets WHERE org_id = $1),
	name AS (SELECT id, source_id FROM u UNION ALL SELECT id, source_id FROM c UNION ALL SELECT id, source_id FROM v),
	n AS (SELECT id, coalesce(source_id, '') AS s FROM name UNION ALL SELECT NULL, '')
SELECT 'company ' || source_id || ' ' || name || ' gone=' || coalesce(extract(epoch FROM deleted_at - zero)::int, 0) FROM c, gone
UNION ALL
SELECT 'contact ' || source_id || ' ' || name || ' x=' || coalesce(external_id, '') || ' company=' || n.s || ' gone=' || coalesce(extract(epoch FROM deleted_at - zero)::int, 0)
FROM u JOIN n ON u.company_id IS NOT DISTINCT FROM n.id, gone
WHERE EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = $1 AND m.kind = 'contact' AND m.row_id = u.id AND m.source_id = u.source_id)
UNION ALL
SELECT 'stray contact ' || source_id FROM u WHERE deleted_at IS NULL AND NOT EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = $1 AND m.kind = 'contact' AND m.row_id = u.id)
UNION ALL
SELECT 'conversation ' || v.source_id || ' ' || subject || ' user=' || a.s || ' company=' || b.s || ' gone=' || coalesce(extract(epoch FROM deleted_at - zero)::int, 0)
FROM v JOIN n a ON a.id IS NOT DISTINCT FROM v.end_user_id JOIN n b ON b.id IS NOT DISTINCT FROM v.company_id, gone
UNION ALL
SELECT 'ticket ' || t.source_id || ' ' || subject || ' user=' || a.s || ' company=' || b.s || ' conversation=' || d.s || ' gone=' || coalesce(extract(epoch FROM deleted_at - zero)::int, 0)
FROM t JOIN n a ON a.id IS NOT DISTINCT FROM t.end_user_id JOIN n b ON b.id IS NOT DISTINCT FROM t.company_id JOIN n d ON d.id IS NOT DISTINCT FROM t.transcript_id, gone
UNION ALL
SELECT 'knowledge ' || k.source_id || ' ' || chunk_index || ' ' || content || ' user=' || a.s || ' company=' || b.s
FROM knowledge k JOIN n a ON a.id IS NOT DISTINCT FROM k.end_user_id JOIN n b ON b.id IS NOT DISTINCT FROM k.company_id WHERE k.org_id = $1
UNION ALL
SELECT 'waits ' || CASE p.table_name WHEN 'tickets' THEN 'ticket ' ELSE 'conversation ' END || x.source_id || ' for ' || ref_kind || ' ' || ref_id
FROM ingest.pending_links p JOIN (SELECT id, source_id FROM v UNION ALL SELECT id, source_id FROM t) x ON x.id = p.row_id WHERE p.org_id = $1`

var errCrash = errors.New("crash")

func TestAnyHistoryInAnyOrderEndsInTheSameRows(t *testing.T) {
	fewer(t, "30")
	db := newDB(t)
	var orgs atomic.Uint32
	contacts, companies := []string{"a", "b", "c", "d"}, []string{"k1", "k2", "k3"}
	conversations, tickets := []string{"v1", "v2", "v3"}, []string{"t1", "t2"}
	rapid.Check(t, func(t *rapid.T) {
		n := orgs.Add(1)
		org := record.UUID{0xcc, byte(n >> 16), byte(n >> 8), byte(n)}
		maybe := func(list []string, label string) string {
			return rapid.SampledFrom(append([]string{""}, list...)).Draw(t, label)
		}
		known := make(map[string]*event)
		var events []*event
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := &event{n: rapid.IntRange(1, 4).Draw(t, "n"), f: rapid.SampledFrom([]int{0, 0, 1, 15, 25}).Draw(t, "f"), gone: rapid.IntRange(0, 4).Draw(t, "gone") == 0}
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0, 1:
				e.kind, e.id = record.KindContact, rapid.SampledFrom(contacts).Draw(t, "contact")
				e.external = map[string]string{"a": "xa", "b": "", "c": "xc", "d": ""}[e.id]
				// Each contact can be merged into the next one only, so that what is known of merges does not contradict itself.
				if i := slices.Index(contacts, e.id); e.gone && i+1 < len(contacts) && rapid.Bool().Draw(t, "merged") {
					e.into = contacts[i+1]
				}
				if !e.gone {
					e.of = rapid.SampledFrom([][]string{nil, {"k1"}, {"k2"}, {"k1", "k2"}, {"k1", "k2", "k3"}}).Draw(t, "of")
				}
			case 2:
				e.kind, e.id = record.KindCompany, rapid.SampledFrom(companies).Draw(t, "company")
				e.asked = rapid.IntRange(0, 3).Draw(t, "asked")
			case 3, 4:
				e.kind, e.id = record.KindConversation, rapid.SampledFrom(conversations).Draw(t, "conversation")
				e.contact, e.company = maybe(contacts, "of contact"), maybe(companies, "of company")
				for i := range rapid.IntRange(0, 2).Draw(t, "learnt") {
					e.learnt = append(e.learnt, fmt.Sprintf("%s-%d", rapid.SampledFrom([]string{"old", "new"}).Draw(t, "text"), i))
				}
			default:
				e.kind, e.id = record.KindTicket, rapid.SampledFrom(tickets).Draw(t, "ticket")
				e.contact, e.company, e.also = maybe(contacts, "of contact"), maybe(companies, "of company"), maybe(conversations, "also")
			}
			// One version of one object has one content, and a contact that was read as gone twice in one moment was told the same.
			name := fmt.Sprint(e.key(), e.n, e.f, e.gone)
			if known[name] == nil {
				known[name] = e
			}
			events = append(events, known[name])
		}
		m := newModel(events)
		lease, err := db.Acquire(context.Background(), org, "model")
		if err != nil {
			t.Fatal(err)
		}
		defer lease.Release(context.Background())
		run, err := db.StartRun(context.Background(), lease, RunSpec{Kind: "model"})
		if err != nil {
			t.Fatal(err)
		}
		x := &loading{tb: &testingT{T: t}, db: db, lease: lease, run: run, sink: run.Sink("all", SinkOptions{})}
		defer x.sink.Close(context.Background())
		x.sink.fault = func(point string) error {
			if rapid.IntRange(0, 9).Draw(t, "crash") == 0 {
				return errCrash
			}
			return nil
		}
		order := rapid.Permutation(events).Draw(t, "order")
		for len(order) > 0 {
			size := min(len(order), rapid.IntRange(1, 12).Draw(t, "batch"))
			var batch []record.Change
			for _, e := range order[:size] {
				batch = append(batch, e.change(org))
			}
			for {
				err := x.try(batch...)
				if err == nil {
					break
				}
				if !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
			}
			order = order[size:]
		}
		if diff := cmp.Diff(m.lines(contacts), x.lines(worldSQL, org)); diff != "" {
			t.Fatalf("rows (-model +tables):\n%s", diff)
		}
		x.sink.fault = func(string) error { return nil }
		var again []record.Change
		for _, e := range rapid.Permutation(events).Draw(t, "again") {
			again = append(again, e.change(org))
		}
		for name, n := range x.commit(again...) {
			if !strings.HasSuffix(name, "/equal") && !strings.HasSuffix(name, "/stale") {
				t.Errorf("the whole history a second time counts %s %d", name, n)
			}
		}
	})
}

// lines reads one text per row, sorted.
func (x *loading) lines(sql string, args ...any) []string {
	x.tb.Helper()
	rows, err := x.db.Pool().Query(context.Background(), sql, args...)
	if err != nil {
		x.tb.Fatal(err)
	}
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			x.tb.Fatal(err)
		}
		list = append(list, s)
	}
	if rows.Err() != nil {
		x.tb.Fatal(rows.Err())
	}
	slices.Sort(list)
	return list
}

// testingT lets the helpers of ordinary tests serve a rapid check.
type testingT struct {
	testing.TB
	T *rapid.T
}

func (t *testingT) Helper()                           {}
func (t *testingT) Context() context.Context          { return context.Background() }
func (t *testingT) Fatal(args ...any)                 { t.T.Fatal(args...) }
func (t *testingT) Fatalf(format string, args ...any) { t.T.Fatalf(format, args...) }
