package intercomtest

import "fmt"

type ticketTypeDef struct {
	id, category, name, description, icon string
	attributes                            []ticketAttributeDef
}

type ticketAttributeDef struct {
	id, name, dataType string
}

var ticketTypes = [...]ticketTypeDef{
	{"1001", "Customer", "Bug report", "Something does not work as it should", "🐞", []ticketAttributeDef{
		{"2003", "Severity", "list"}, {"2004", "Steps to reproduce", "string"}, {"2005", "Affected version", "string"}}},
	{"1002", "Customer", "Refund request", "The customer wants money back", "💶", []ticketAttributeDef{
		{"2006", "Refund amount", "decimal"}, {"2007", "Order number", "string"}, {"2008", "Approved?", "boolean"}}},
	{"1003", "Back-office", "Escalation", "For the second level", "🛠", []ticketAttributeDef{
		{"2009", "Due date", "datetime"}, {"2010", "Seats", "integer"}}},
	{"1004", "Tracker", "Outage", "One cause, many customers", "📡", []ticketAttributeDef{
		{"2011", "Status page link", "string"}}},
	{"1005", "Customer", "Feature request", "An idea from a customer", "💡", []ticketAttributeDef{
		{"2012", "Screenshots", "files"}, {"2013", "status", "string"}}},
}

type ticketStateDef struct{ id, category, internal, external string }

var ticketStates = [...]ticketStateDef{
	{"3001", "submitted", "Submitted", "Submitted"},
	{"3002", "in_progress", "In progress", "In progress"},
	{"3003", "waiting_on_customer", "Waiting on customer", "Waiting on you"},
	{"3004", "resolved", "Resolved", "Resolved"},
	{"3005", "in_progress", "With engineering", "In progress"},
	{"3006", "resolved", "Won't fix", "Closed"},
}

// ticketStateUnknown is the category of a state that is in no documentation.
const ticketStateUnknown = "parked"

func (s *synthetic) ticketType(j int) int {
	return [...]int{0, 0, 1, 1, 4, 2, 2, 3, 0, 4}[mix64(s.seed+uint64(j)*67)%10]
}

func (s *synthetic) ticketUpdated(j int, created int64) int64 {
	if c := s.ticketConversation(j); c >= 0 {
		return s.updated(Conversations, c)
	}
	r := newRNG(s.seed, streamTicket, j)
	return s.later(&r, created, false)
}

func (s *synthetic) ticket(j int, created int64) *ticket {
	r := newRNG(s.seed, streamTicket, j)
	t := &ticket{
		index: j, number: 101 + j, conversation: s.ticketConversation(j), typ: s.ticketType(j), created: created,
		previousState: -1, admin: -1, team: -1, contact: contactNone,
	}
	t.updated = s.later(&r, created, false)
	t.id = ticketOnlyID(j)
	if t.conversation >= 0 {
		h := s.head(t.conversation, s.created(Conversations, t.conversation))
		t.id, t.updated, t.contact, t.admin, t.team = conversationID(t.conversation), h.updated, h.contact, h.admin, h.team
	} else {
		if n := s.sizes[Contacts]; n > 0 && ticketTypes[t.typ].category != "Tracker" {
			t.contact = r.n(n)
		}
		if !r.permille(150) {
			t.admin = r.n(len(s.staff))
		}
		if r.permille(600) {
			t.team = r.n(len(s.voc.teams))
		}
	}
	t.state = r.n(len(ticketStates))
	if t.state != 0 {
		t.previousState = 0
	}
	if r.permille(s.odds) {
		t.odd = 1 + r.n(ticketOddities)
	}
	w := newWriter(&r, s.voc, created, "")
	topic := pick(&r, s.voc.topics)
	if !r.permille(80) { // the rest has no title
		t.title = w.fill(pick(&r, topic.subjects))
	}
	if !r.permille(150) {
		t.description = w.sentences(topic.opening, 1) + " " + w.sentences(topic.detail, r.between(1, 3))
	}
	for _, d := range ticketTypes[t.typ].attributes {
		if r.permille(200) {
			continue
		}
		v := `null`
		switch d.dataType {
		case "list":
			v = quoteJSON(pick(&r, []string{"low", "medium", "high"}))
		case "string":
			v = quoteJSON(w.fill(pick(&r, []string{"{order}", "{feature}", "see {order}"})))
		case "decimal":
			v = fmt.Sprintf("%d.%02d", r.n(900), r.n(100))
		case "boolean":
			v = fmt.Sprint(r.permille(500))
		case "datetime":
			v = fmt.Sprint(created + 7*86400)
		case "integer":
			v = fmt.Sprint(r.n(50))
		case "files":
			v = `[{"type":"upload","name":"idea.png","url":"` + exampleFiles + `/t/` + t.id +
				`/idea.png","content_type":"image/png","filesize":20480,"width":640,"height":480}]`
		}
		t.attributes = append(t.attributes, attribute{d.name, v})
	}
	if r.permille(100) {
		t.snoozedUntil = t.updated + 86400
	}
	t.shared = ticketTypes[t.typ].category == "Customer" || r.permille(300)
	if ticketTypes[t.typ].category != "Customer" && s.sizes[Conversations] > 0 {
		t.linked = append(t.linked, link{"conversation", conversationID(r.n(s.sizes[Conversations])), ""})
	}
	return t
}

// ticketParts writes the history of a ticket that is no conversation.
func (s *synthetic) ticketParts(t *ticket, customer *contact) {
	if t.odd == ticketOddNullParts {
		return
	}
	r := newRNG(s.seed, streamTicketBody, t.index)
	b := builder{s: s, r: &r, customer: customer, topic: pick(&r, s.voc.topics), w: newWriter(&r, s.voc, t.created, "")}
	b.c = &conversation{convHead: convHead{contact: t.contact, admin: t.admin, team: t.team}}
	n := r.between(0, 6)
	for k := range n {
		at := t.created + (t.updated-t.created)*int64(k+1)/int64(n+1)
		p := part{id: ticketPartID + uint64(t.index)*partsPerObject + uint64(k), created: at, updated: at, notified: at, body: text{null: true}}
		p.ticketState = "submitted"
		switch r.n(4) {
		case 0:
			b.comment(&p, evCustomer)
			if t.contact < 0 {
				p.author = b.adminPerson(t.admin)
			}
		case 1:
			b.comment(&p, evAgent)
		case 2:
			b.fill(&p, evNote, stateOpen)
		default:
			p.typ, p.author = "ticket_attribute_updated_by_admin", b.adminPerson(t.admin)
			p.attribute = `{"attribute":{"type":"attribute","id":"2003","label":"Severity"},"value":{"type":"value","id":"high","label":"high"}}`
		}
		t.parts = append(t.parts, p)
	}
	if t.state != 0 {
		p := part{
			id: ticketPartID + uint64(t.index)*partsPerObject + uint64(n), created: t.updated, updated: t.updated, notified: t.updated,
			typ: "ticket_state_updated_by_admin", author: b.adminPerson(t.admin), body: text{null: true},
			ticketState: ticketStates[t.state].category, previousTicketState: "submitted",
		}
		t.parts = append(t.parts, p)
	}
}
