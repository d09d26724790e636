package intercomtest

import (
	"encoding/json"
	"strings"
)

// opKind is one kind of change to one object.
type opKind uint8

const (
	opTouch opKind = iota
	opReply
	opNote
	opClose
	opReopen
	opRedact
	opSet
	opTicketState
	opCreate
	opMergedFrom
)

// op is one change. Text is plain; the body is made from it.
type op struct {
	kind    opKind
	at      int64
	by      string // user, admin, bot
	text    string
	part    uint64 // the redacted part; 0 is the source
	contact int    // opCreate
	state   int    // opTicketState, index into ticketStates
	silent  bool   // updated_at stays
	fields  map[string]json.RawMessage
	merged  mergeEntry
}

// replacesContent tells whether the object was made through a change and has
// nothing generated in it.
func (d *delta) replacesContent() bool { return len(d.ops) > 0 && d.ops[0].kind == opCreate }

func (d *delta) applyHead(h *convHead) {
	for _, o := range d.ops {
		switch o.kind {
		case opReply, opReopen:
			h.state = stateOpen
		case opClose:
			h.state = stateClosed
		case opCreate:
			*h = convHead{index: h.index, created: h.created, state: stateOpen, contact: o.contact, ticket: -1, admin: -1, team: -1}
		}
	}
	if d.updated != 0 {
		h.updated = d.updated
	}
}

// blank is a conversation that a change created; the first op fills it.
func (w *Workspace) blank(h convHead) *conversation {
	return &conversation{
		convHead: h, id: conversationID(h.index), company: -1, sourceID: decimal(sourceIDBase + uint64(h.index)),
		deliveredAs: "customer_initiated",
	}
}

func (w *Workspace) applyConversation(c *conversation, d *delta, customer *contact) {
	b := builder{s: w.base(), c: c, customer: customer}
	d.applyHead(&c.convHead)
	c.contact = w.survivor(c.contact)
	body := func(s string) text { return paragraphs(strings.Split(s, "\n")...) }
	for _, o := range d.ops {
		p := part{
			id: conversationPartID + uint64(c.index)*partsPerObject + uint64(len(c.parts)), created: o.at, updated: o.at, notified: o.at,
			body: text{null: true}, state: c.state, author: b.adminPerson(c.admin),
		}
		switch o.kind {
		case opCreate:
			c.author, c.body = b.customerPerson(), body(o.text)
			if customer != nil && len(customer.companies) > 0 {
				c.company = customer.companies[0]
			}
			continue
		case opReply:
			p.typ, p.body = "comment", body(o.text)
			switch o.by {
			case "user":
				p.author = b.customerPerson()
			case "bot":
				p.author = botPerson(true)
			}
			p.state = stateOpen
		case opNote:
			p.typ, p.body = "note", body(o.text)
		case opClose:
			p.typ, p.state = "close", stateClosed
			if o.text != "" {
				p.body = body(o.text)
			}
		case opReopen:
			p.typ, p.state = "open", stateOpen
		case opRedact:
			c.redact(o)
			continue
		default:
			continue
		}
		c.parts = append(c.parts, p)
	}
}

func (c *conversation) redact(o op) {
	if o.part == 0 {
		c.redacted, c.body, c.files = true, redactedText(), nil
		if c.email != nil {
			c.email.history = ""
		}
		return
	}
	for i := range c.parts {
		if p := &c.parts[i]; p.id == o.part {
			p.redacted, p.body, p.files, p.updated = true, redactedText(), nil, o.at
		}
	}
}

func (d *delta) applyContact(c *contact) {
	for _, o := range d.ops {
		switch o.kind {
		case opCreate:
			*c = contact{index: c.index, id: c.id, role: "user", owner: -1, created: c.created, updated: c.created}
			c.set(o.fields)
		case opSet:
			c.set(o.fields)
		case opMergedFrom:
			c.mergedFrom = append(c.mergedFrom, o.merged)
		}
	}
	if d.updated != 0 {
		c.updated = d.updated
	}
}

// set applies fields by their API names. Unknown ones become custom attributes
// if they are spelled custom_attributes.NAME and are ignored otherwise; Change
// checks them before.
func (c *contact) set(fields map[string]json.RawMessage) {
	for k, v := range fields {
		var s string
		_ = json.Unmarshal(v, &s) // null and numbers leave the empty string
		switch k {
		case "email":
			c.email = s
		case "name":
			c.name = s
		case "external_id":
			c.externalID = s
		case "role":
			c.role = s
		case "phone":
			c.phone = s
		case "last_seen_at":
			_ = json.Unmarshal(v, &c.lastSeen)
		case "companies":
			c.companies = nil
			_ = json.Unmarshal(v, &c.companies)
		default:
			c.attributes = setAttribute(c.attributes, k, v)
		}
	}
}

func setAttribute(list []attribute, key string, v json.RawMessage) []attribute {
	name, ok := strings.CutPrefix(key, "custom_attributes.")
	if !ok {
		return list
	}
	for i := range list {
		if list[i].name == name {
			list[i].value = string(v)
			return list
		}
	}
	return append(list, attribute{name, string(v)})
}

func (d *delta) applyCompany(c *company) {
	for _, o := range d.ops {
		if o.kind != opSet && o.kind != opCreate {
			continue
		}
		if o.kind == opCreate {
			*c = company{index: c.index, id: c.id, plan: -1, spend: "0", created: c.created, updated: c.created}
		}
		for k, v := range o.fields {
			var s string
			_ = json.Unmarshal(v, &s)
			switch k {
			case "name":
				c.name, c.noName = s, false
			case "company_id":
				c.companyID = s
			case "website":
				c.website = s
			case "industry":
				c.industry = s
			case "size":
				_ = json.Unmarshal(v, &c.size)
			case "monthly_spend":
				c.spend = string(v)
			case "last_request_at":
				_ = json.Unmarshal(v, &c.lastRequest)
			default:
				c.attributes = setAttribute(c.attributes, k, v)
			}
		}
	}
	if d.updated != 0 {
		c.updated = d.updated
	}
}

func (d *delta) applyTicket(t *ticket, w *Workspace) {
	for _, o := range d.ops {
		switch o.kind {
		case opTicketState:
			before := ticketStates[t.state].category
			t.previousState, t.state, t.odd = t.state, o.state, 0
			if t.conversation >= 0 {
				continue // the conversation has the parts
			}
			b := builder{s: w.base(), c: &conversation{}}
			t.parts = append(t.parts, part{
				id:  ticketPartID + uint64(t.index)*partsPerObject + uint64(len(t.parts)),
				typ: "ticket_state_updated_by_admin", created: o.at, updated: o.at, notified: o.at, body: text{null: true},
				author: b.adminPerson(t.admin), ticketState: ticketStates[o.state].category, previousTicketState: before,
			})
		case opSet:
			for k, v := range o.fields {
				var s string
				_ = json.Unmarshal(v, &s)
				switch k {
				case "title":
					t.title = s
				case "description":
					t.description = s
				}
			}
		}
	}
	if d.updated != 0 && d.updated > t.updated {
		t.updated = d.updated
	}
}

// base is the generator's word lists and staff.
func (w *Workspace) base() *synthetic {
	switch g := w.gen.(type) {
	case *dialogued:
		return g.synthetic
	case *synthetic:
		return g
	}
	return nil
}
