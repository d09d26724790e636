package halo

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"haloingest/pipeline/record"
)

// pairs makes random pairs of tables: objects as the stages would make them for the left, with the columns that they should have, and rows of
// which some have been tampered with for the right.
type pairs struct {
	*rand.Rand
	org record.UUID
	e   record.Encoder
}

// row is a table's row by column, as pgx takes it; nil is NULL.
type row map[string]any

func pick[T any](p *pairs, list ...T) T { return list[p.IntN(len(list))] }

var wild = []string{"|", "<null>", "NULL", "null", `\N`, "a", "A", "a ", " a", "\u00e9", "e\u0301", "NaN", "-0", "0", "1e400", `a","b`, "{}", "\t", "\x01", "😀", strings.Repeat("x", 300)}

func (p *pairs) text() string { return pick(p, append(wild, "", "")...) }

var instants = []time.Time{{}, time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC), time.Unix(0, 0).UTC(),
	time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), time.Date(2024, 2, 29, 12, 0, 0, 1000, time.UTC), time.Date(1899, 12, 31, 23, 59, 59, 0, time.UTC)}

func (p *pairs) time() time.Time { return pick(p, instants...) }

var wildValues = []string{`1`, `-0.0`, `1.50`, `1e400`, `0.1`, `1e-7`, `""`, `null`, `"<null>"`, `"é"`, `"e\u0301"`, `true`, `[1,2]`, `[2,1]`, `{"b":1,"aa":2,"c":{"x":1e2}}`,
	`123456789012345678901234567890`, `12345678901234567890.5`, strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40)}

// document is a JSON object; its text is not canonical.
func (p *pairs) document(keys ...string) json.RawMessage {
	var members []string
	for _, i := range p.Perm(len(keys)) {
		if p.IntN(2) == 0 {
			members = append(members, fmt.Sprintf(`"%s" : %s`, keys[i], pick(p, wildValues...)))
		}
	}
	return json.RawMessage("{" + strings.Join(members, ", ") + "}")
}

func canonicalOf(raw json.RawMessage) json.RawMessage {
	doc, err := record.CanonicalJSON(raw)
	if err != nil {
		panic(err)
	}
	return doc
}

func null[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func nullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func (p *pairs) head(kind record.Kind, id string) record.Head {
	return record.Head{Org: p.org, ID: record.RowID(p.org, kind, id), SourceID: id, SourceUpdatedAt: time.Date(2024, 5, 1, 0, 0, p.IntN(50), 0, time.UTC)}
}

// fetched is when everything was read.
var fetched = time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)

func headRow(h *record.Head, r row) row {
	maps.Copy(r, row{"org_id": h.Org.String(), "id": h.ID.String(), "source_id": h.SourceID, "source_updated_at": h.SourceUpdatedAt, "content_hash": h.Hash[:],
		"updated_at": fetched, "deleted_at": nil})
	return r
}

func change(kind record.Kind, h *record.Head) record.Change {
	return record.Change{Kind: kind, SourceID: h.SourceID, Version: record.Version{UpdatedAt: h.SourceUpdatedAt, FetchedAt: fetched}}
}

// object makes an object and the rows that it should have: one, or of knowledge several.
func (p *pairs) object(entity, id string) (record.Change, []row) {
	switch entity {
	case "end_users":
		return p.contact(id)
	case "companies":
		return p.company(id)
	case "tickets":
		return p.ticket(id)
	case "knowledge":
		return p.knowledge(id)
	}
	return p.transcript(id)
}

func (p *pairs) contact(id string) (record.Change, []row) {
	custom, context := p.document("plan", "bb", "a"), p.document("intercom_phone", "intercom_tags")
	r := &record.EndUserRow{Head: p.head(record.KindContact, id), Name: p.text(), Email: p.text(), Avatar: p.text(), Role: pick(p, "user", "lead"), SignedUpAt: p.time(),
		CustomFields: canonicalOf(custom), Context: canonicalOf(context), Companies: pick(p, nil, []string{"1"}, []string{"1", `2"`})}
	if p.IntN(2) == 0 {
		r.ExternalID = id + p.text()
	}
	r.Seal(&p.e)
	c := change(record.KindContact, &r.Head)
	c.EndUser = r
	companies := r.Companies
	if companies == nil {
		companies = []string{}
	}
	return c, []row{headRow(&r.Head, row{"external_id": null(r.ExternalID), "source": "intercom", "name": null(r.Name), "email": null(r.Email), "avatar": null(r.Avatar),
		"role": null(r.Role), "signed_up_at": nullTime(r.SignedUpAt), "custom_fields": string(custom), "context": string(context), "source_company_ids": companies})}
}

func (p *pairs) company(id string) (record.Change, []row) {
	custom, context := p.document("plan", "bb", "a"), p.document("intercom_website", "intercom_tags")
	r := &record.CompanyRow{Head: p.head(record.KindCompany, id), Name: p.text(), Domain: p.text(), Industry: p.text(), Plan: p.text(), EmployeeCount: p.IntN(3), SignedUpAt: p.time(),
		CustomFields: canonicalOf(custom), Context: canonicalOf(context), LastRequestAt: p.time()}
	r.Seal(&p.e)
	c := change(record.KindCompany, &r.Head)
	c.Company = r
	return c, []row{headRow(&r.Head, row{"external_id": nil, "source": "intercom", "name": null(r.Name), "domain": null(r.Domain), "industry": null(r.Industry),
		"plan": null(r.Plan), "employee_count": null(r.EmployeeCount), "signed_up_at": nullTime(r.SignedUpAt), "custom_fields": string(custom), "context": string(context),
		"last_request_at": nullTime(r.LastRequestAt)})}
}

func (p *pairs) transcript(id string) (record.Change, []row) {
	metadata, messages := p.document("source", "b", "aa"), "["+string(p.document("id", "text"))+", "+string(p.document("id", "at"))+"]"
	r := &record.TranscriptRow{Head: p.head(record.KindConversation, id), ContactID: p.text(), CompanyID: p.text(), SessionID: p.text(), Subject: p.text(),
		MessagesJSON: canonicalOf(json.RawMessage(messages)), MessageCount: p.IntN(3), ExpectedMessageCount: p.IntN(3), Complete: p.IntN(3) > 0, Status: p.text(), Outcome: p.text(),
		StartedAt: p.time(), EndedAt: p.time(), Metadata: canonicalOf(metadata)}
	r.Seal(&p.e)
	c := change(record.KindConversation, &r.Head)
	c.Transcript = r
	return c, []row{headRow(&r.Head, row{"source_contact_id": null(r.ContactID), "source_company_id": null(r.CompanyID), "session_id": null(r.SessionID),
		"subject": null(r.Subject), "messages": messages, "message_count": r.MessageCount, "expected_message_count": r.ExpectedMessageCount, "complete": r.Complete,
		"status": null(r.Status), "outcome": null(r.Outcome), "started_at": nullTime(r.StartedAt), "ended_at": nullTime(r.EndedAt), "metadata": string(metadata),
		"end_user_id": nil, "company_id": nil})}
}

func (p *pairs) ticket(id string) (record.Change, []row) {
	metadata, messages := p.document("source", "b", "aa"), "["+string(p.document("id", "text"))+"]"
	r := &record.TicketRow{Head: p.head(record.KindTicket, id), ContactID: p.text(), CompanyID: p.text(), Number: p.text(), Subject: p.text(), Message: p.text(),
		Status: p.text(), Priority: p.text(), Category: p.text(), Assignee: p.text(), MessagesJSON: canonicalOf(json.RawMessage(messages)), ResolvedAt: p.time(),
		Metadata: canonicalOf(metadata)}
	r.Seal(&p.e)
	c := change(record.KindTicket, &r.Head)
	c.Ticket = r
	return c, []row{headRow(&r.Head, row{"source_contact_id": null(r.ContactID), "source_company_id": null(r.CompanyID), "ticket_number": null(r.Number),
		"subject": null(r.Subject), "message": null(r.Message), "status": null(r.Status), "priority": null(r.Priority), "category": null(r.Category),
		"assignee": null(r.Assignee), "messages": messages, "resolved_at": nullTime(r.ResolvedAt), "metadata": string(metadata),
		"end_user_id": nil, "company_id": nil, "transcript_id": nil})}
}

func (p *pairs) knowledge(id string) (record.Change, []row) {
	h := p.head(record.KindConversation, id)
	c := change(record.KindConversation, &h)
	c.Transcript = &record.TranscriptRow{Head: h}
	var rows []row
	for i := range p.IntN(4) {
		metadata := p.document("score", "n")
		k := record.KnowledgeRow{Org: p.org, Key: "intercom:conversation:" + id, Kind: pick(p, "parent", "child"), ChunkIndex: i, Title: p.text(), Content: p.text(),
			SourceMessageIDs: pick(p, nil, []string{""}, []string{"1", `a"b`}), SourceID: id, SourceUpdatedAt: h.SourceUpdatedAt, Metadata: canonicalOf(metadata)}
		if i > 0 && p.IntN(2) == 0 {
			k.ParentID = c.Knowledge[0].ID
		}
		k.ID = record.KnowledgeID(p.org, k.Key, k.Kind, i)
		k.Seal(&p.e)
		c.Knowledge = append(c.Knowledge, k)
		var parent any
		if !k.ParentID.IsZero() {
			parent = k.ParentID.String()
		}
		ids := k.SourceMessageIDs
		if ids == nil {
			ids = []string{}
		}
		kh := record.Head{Org: p.org, ID: k.ID, SourceID: id, SourceUpdatedAt: k.SourceUpdatedAt, Hash: k.Hash}
		rows = append(rows, headRow(&kh, row{"key": k.Key, "kind": k.Kind, "parent_id": parent, "chunk_index": i, "title": null(k.Title), "content": k.Content,
			"source_message_ids": ids, "metadata": string(metadata), "transcript_id": h.ID.String(), "end_user_id": nil, "company_id": nil}))
	}
	return c, rows
}

// tamper changes a column of a row to something else, or perhaps to the same in another form.
func (p *pairs) tamper(entity string, r row) {
	columns := slices.Sorted(maps.Keys(r))
	for {
		c := pick(p, columns...)
		if _, person := r["context"]; person && p.IntN(4) == 0 {
			c = "context" // it has rules of its own
		}
		switch c {
		case "org_id", "id", "source_id", "deleted_at", "updated_at", "kind", "chunk_index", "external_id", "key", "source_company_ids", "last_request_at":
			continue // what a row is, rather than what is in it
		case "transcript_id", "end_user_id", "company_id":
			if entity == "knowledge" || c == "transcript_id" {
				continue // a row of knowledge of another transcript is a stray one, and a ticket's link makes its conversation
			}
			r[c] = record.UUID{1, 2, 3, byte(p.IntN(3))}.String()
		case "parent_id":
			r[c] = pick(p, any(nil), any(record.UUID{9}.String()))
		case "content_hash":
			r[c] = pick(p, []byte{1, 2, 3}, make([]byte, 16), nil)
		case "messages", "metadata", "custom_fields", "context":
			p.tamperDocument(r, c)
		case "source_message_ids":
			r[c] = pick(p, []string{}, []string{""}, []string{"1", `a"b`}, []string{`1","a"b`})
		case "message_count", "expected_message_count", "employee_count":
			r[c] = pick(p, any(0), any(1), any(-1))
			if c != "message_count" && p.IntN(3) == 0 {
				r[c] = nil
			}
		case "complete":
			r[c] = p.IntN(2) == 0
		case "signed_up_at", "started_at", "ended_at", "resolved_at", "source_updated_at":
			r[c] = p.wildTime()
		case "content":
			r[c] = p.text()
		case "source":
			r[c] = pick(p, any("intercom"), any("Intercom"), nil)
		default:
			r[c] = pick(p, any(p.text()), nil)
		}
		return
	}
}

func (p *pairs) wildTime() any {
	switch p.IntN(6) {
	case 0:
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	case 1:
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	case 2:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC) // what a zero time.Time would be
	case 3:
		return time.Date(-3000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return nullTime(p.time())
}

func (p *pairs) tamperDocument(r row, c string) {
	doc := r[c].(string)
	switch p.IntN(4) {
	case 0: // the same, written otherwise
		r[c] = strings.ReplaceAll(strings.ReplaceAll(doc, "1.50", "1.5000"), `"é"`, `"\u00e9"`)
	case 1:
		r[c] = pick(p, `{}`, `[]`, `null`, `"x"`, `1.0`)
	case 2: // a further key of Halo's own, or of ours
		if strings.HasPrefix(doc, "{}") {
			r[c] = `{"mood":1}`
		} else if strings.HasPrefix(doc, "{") {
			r[c] = pick(p, `{"mood":1, `, `{"intercom_mood":1, `) + doc[1:]
		}
	default:
		r[c] = string(p.document("source", "b", "aa", "plan", "intercom_tags"))
	}
}
