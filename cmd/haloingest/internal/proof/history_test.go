package proof

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// at is a time n seconds into the tests' year.
func at(n int) time.Time { return time.Date(2024, 1, 1, 0, 0, n, 0, time.UTC) }

// maker makes random changes. Version numbers go up, so that a later change of an object is a newer one.
type maker struct {
	*rand.Rand
	n int
	e record.Encoder
}

func (m *maker) oneOf(list ...string) string { return list[m.IntN(len(list))] }

func (m *maker) head(kind record.Kind, id string) (record.Head, record.Version) {
	m.n++
	return record.Head{Org: org, ID: record.RowID(org, kind, id), SourceID: id, SourceUpdatedAt: at(m.n), SourceCreatedAt: at(0)},
		record.Version{UpdatedAt: at(m.n), FetchedAt: at(m.n + 100_000)}
}

func (m *maker) document(keys ...string) json.RawMessage {
	doc := map[string]any{}
	for _, k := range keys {
		if m.IntN(2) == 0 {
			doc[k] = m.IntN(3)
		}
	}
	raw, _ := json.Marshal(doc)
	canonical, err := record.CanonicalJSON(raw)
	if err != nil {
		panic(err)
	}
	return canonical
}

func (m *maker) change() record.Change {
	switch n := m.IntN(20); {
	case n < 8:
		return m.contact()
	case n < 11:
		return m.company()
	case n < 16:
		return m.conversation()
	case n < 18:
		return m.ticket()
	}
	return m.gone()
}

const few = 6

func (m *maker) contact() record.Change {
	id := fmt.Sprint("c", m.IntN(few))
	h, v := m.head(record.KindContact, id)
	r := &record.EndUserRow{Head: h, Role: m.oneOf("user", "lead"), Name: m.oneOf("", "Ann", "Bob", "Čeněk|"), Avatar: m.oneOf("", "https://x.org/a.png"),
		Email:      m.oneOf("", "a@x.org", "A@x.org ", "b@x.org", "c@x.org"),
		ExternalID: m.oneOf("", "", "u1", "u2", "u3"), CustomFields: m.document("plan", "seats", "zz"), Context: m.document("intercom_phone", "intercom_tags")}
	if m.IntN(2) == 0 {
		r.SignedUpAt, r.FirstSeen = at(m.IntN(5)), at(1)
	}
	for i := range 3 {
		if m.IntN(3) == 0 {
			r.Companies = append(r.Companies, fmt.Sprint("k", i))
		}
	}
	r.EmailKey = record.EmailKey(r.Email)
	r.Seal(&m.e)
	return record.Change{Kind: record.KindContact, SourceID: id, Version: v, EndUser: r}
}

func (m *maker) company() record.Change {
	id := fmt.Sprint("k", m.IntN(4))
	h, v := m.head(record.KindCompany, id)
	r := &record.CompanyRow{Head: h, Name: m.oneOf("", "Acme", "Æ"), ExternalID: m.oneOf("", "e1", "e2"), EmployeeCount: m.IntN(3), Plan: m.oneOf("", "pro"),
		CustomFields: m.document("size"), Context: m.document("intercom_tags")}
	if m.IntN(2) == 0 {
		r.LastRequestAt = at(m.IntN(100))
	}
	r.Seal(&m.e)
	return record.Change{Kind: record.KindCompany, SourceID: id, Version: v, Company: r}
}

func (m *maker) messages(from, to int) []record.Message {
	var list []record.Message
	for i := from; i < to; i++ {
		list = append(list, record.Message{ID: fmt.Sprint(100 + i), Speaker: record.SpeakerUser, Kind: "comment", Text: fmt.Sprint("message ", i), At: at(i)})
	}
	return list
}

func (m *maker) conversation() record.Change {
	id := fmt.Sprint("v", m.IntN(few))
	h, v := m.head(record.KindConversation, id)
	r := &record.TranscriptRow{Head: h, Subject: m.oneOf("", "Hello", "<null>"), Status: m.oneOf("active", "completed"), SessionID: "intercom_" + id,
		ContactID: m.oneOf("", "c0", "c1", "c2", "c3", "c9"), CompanyID: m.oneOf("", "", "k0", "k1", "k9"), Metadata: m.document("state", "title"), StartedAt: at(3)}
	// Of a long one only the newest messages come.
	from, to := m.IntN(3), 4+m.IntN(2)
	r.Messages = m.messages(from, to)
	r.MessagesJSON = record.AppendMessages(nil, r.Messages)
	r.MessageCount, r.ExpectedMessageCount = to-from, to
	r.Complete = from == 0
	r.Seal(&m.e)
	c := record.Change{Kind: record.KindConversation, SourceID: id, Version: v, Transcript: r}
	for i := range m.IntN(3) {
		k := record.KnowledgeRow{Org: org, Key: "intercom:conversation:" + id, Kind: record.KnowledgeParent, ChunkIndex: i, Content: fmt.Sprint("content ", m.IntN(3)),
			SourceMessageIDs: []string{"100", `a"b`}[:m.IntN(3)], SourceID: id, SourceUpdatedAt: h.SourceUpdatedAt, Metadata: m.document("score")}
		k.ID = record.KnowledgeID(org, k.Key, k.Kind, i)
		k.Seal(&m.e)
		c.Knowledge = append(c.Knowledge, k)
	}
	r.KnowledgeHash = record.KnowledgeHash(&m.e, c.Knowledge)
	return c
}

func (m *maker) ticket() record.Change {
	id := fmt.Sprint("t", m.IntN(3))
	h, v := m.head(record.KindTicket, id)
	r := &record.TicketRow{Head: h, Number: id, Subject: "Ticket", Status: m.oneOf("open", "resolved"), Priority: "normal", ContactID: m.oneOf("", "c0", "c1", "c9"),
		CompanyID: m.oneOf("", "k0", "k2"), ConversationID: m.oneOf("", "v0", "v1", "v9"), MessagesJSON: record.AppendMessages(nil, m.messages(0, 1)), Metadata: m.document("type")}
	r.Seal(&m.e)
	return record.Change{Kind: record.KindTicket, SourceID: id, Version: v, Ticket: r}
}

func (m *maker) gone() record.Change {
	kind := record.Kinds[m.IntN(len(record.Kinds))]
	id := map[record.Kind]string{record.KindContact: "c", record.KindCompany: "k", record.KindConversation: "v", record.KindTicket: "t"}[kind] + fmt.Sprint(m.IntN(few))
	_, v := m.head(kind, id)
	v.Rank = 1
	c := record.Change{Kind: kind, SourceID: id, Version: v, Gone: &record.Tombstone{Why: record.GoneDeleted, At: v.UpdatedAt}}
	if kind == record.KindContact && m.IntN(2) == 0 {
		if into := fmt.Sprint("c", m.IntN(few)); into != id {
			c.Gone.Why, c.Gone.MergedInto = record.GoneMerged, into
		}
	}
	return c
}

// history loads a random history, with some rows that Halo made itself, and returns what was sent, and
// which objects have shared a row at any time.
func (d *database) history(seed uint64) (left *held, shared map[string]bool) {
	shared = make(map[string]bool)
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 1))}
	d.clear()
	if m.IntN(2) == 0 {
		d.exec(`INSERT INTO end_users (org_id, id, external_id, email, name, custom_fields, context) VALUES
			($1, gen_random_uuid(), 'u1', NULL, 'Halo''s', '{"mood": 1}', '{"note": {"value": 1}}'), ($1, gen_random_uuid(), NULL, 'b@x.org', NULL, '{"plan": 7}', '{}')`, org)
		d.exec(`INSERT INTO companies (org_id, id, external_id, name) VALUES ($1, gen_random_uuid(), 'e1', 'Halo''s')`, org)
	}
	left = newHeld()
	for range 1 + m.IntN(12) {
		var batch []record.Change
		for range 1 + max(0, m.IntN(24)-12) {
			c := m.change()
			batch = append(batch, c)
			left.add(c)
		}
		if len(batch) > 1 {
			for _, c := range left.changes {
				shared[c.Kind.Table()+" "+c.SourceID] = true // perhaps: within a batch nobody sees it
			}
		}
		d.load(batch...)
		for _, id := range d.texts(`SELECT (CASE kind WHEN 'contact' THEN 'end_users ' ELSE 'companies ' END) || source_id FROM ingest.id_map m
			WHERE native OR EXISTS (SELECT FROM ingest.id_map o WHERE o.row_id = m.row_id AND o.source_id <> m.source_id)`) {
			shared[id] = true
		}
	}
	return left, shared
}

// outdated reports whether a row that was shared once shows too much or an older state, although the newest one was loaded, as the
// identity map says: the sink looks at a row anew only when one of those on it comes again, not when one leaves it.
func (d *database) outdated(left *held, f diff.Finding) bool {
	c := left.changes[key(diff.Kind(f.Entity), f.SourceID)]
	hash := c.Fingerprint().Hash
	return len(d.texts(`SELECT source_id FROM ingest.id_map WHERE kind = $1 AND source_id = $2 AND content_hash = $3`, string(c.Kind), c.SourceID, hash[:])) == 1
}

func TestWhatTheLoaderMakesOfAnyHistoryIsEqual(t *testing.T) {
	d := newDatabase(t)
	seeds := uint64(40)
	if long() {
		seeds = 5000
	}
	total := make(map[string]int64)
	for seed := range seeds {
		left, shared := d.history(seed)
		// The word of a merged contact is older than what its survivor's row says, and so on: what differs must be a rule's.
		waits := make(map[string]bool) // what the sink wants to see again: the row shows somebody who has left it
		for _, id := range d.texts(`SELECT CASE kind WHEN 'contact' THEN 'end_users ' ELSE 'companies ' END || source_id FROM ingest.id_map WHERE content_hash IS NULL`) {
			waits[id] = true
		}
		for _, level := range []diff.Level{diff.LevelFull, diff.LevelFast} {
			report, found := d.compare(left, diff.Options{Level: level})
			for _, f := range found {
				if f.Class == diff.Excluded && strings.Contains(f.Cause, "customer") {
					continue
				}
				if f.Class == diff.Changed && waits[f.Entity+" "+f.SourceID] && strings.Contains(f.Cause, "to be loaded again") {
					continue
				}
				if f.Class == diff.Changed && shared[f.Entity+" "+f.SourceID] && d.outdated(left, f) {
					continue
				}
				if f.Class == diff.Changed && strings.Contains(f.Cause, "kept as a reject (load)") {
					continue
				}
				t.Errorf("seed %d, level %s: %s", seed, level, describe(f))
			}
			for _, e := range report.Entities {
				total[e.Name+" matched"] += e.Counts.Matched
				total[e.Name+" by rule"] += e.Counts.ByRule
				for _, col := range e.Columns {
					for rule, n := range col.EqualByRule {
						total["rule "+rule] += n
					}
				}
			}
		}
		if t.Failed() {
			break
		}
	}
	for _, rule := range diff.Rules() {
		if total["rule "+rule.Name] == 0 {
			t.Errorf("no history has needed the rule %s", rule.Name)
		}
	}
	t.Log(total)
}
