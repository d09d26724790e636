package intercomtest

import (
	"strconv"
	"strings"
)

type fieldType uint8

const (
	typeString fieldType = iota
	typeInteger
	typeBool
	typeDate
)

// fieldDef tells a searchable field's type and how to get its value; the getter
// of its type is the one that is set.
type fieldDef struct {
	typ     fieldType
	strs    func(*row) []string
	num     func(*row) (int64, bool)
	boolean func(*row) bool
}

// row is an object under search. It makes as little of the object as the fields
// that are asked for need.
type row struct {
	w    *Workspace
	kind Kind
	i    int

	head    *convHead
	conv    *conversation
	contact *contact
	ticket  *ticket
}

func (r *row) h() *convHead {
	if r.head == nil {
		h := r.w.head(r.i)
		r.head = &h
	}
	return r.head
}

func (r *row) c() *conversation {
	if r.conv == nil {
		r.conv = r.w.conversation(r.i)
	}
	return r.conv
}

func (r *row) person() *contact {
	if r.contact == nil {
		r.contact = r.w.contact(r.i)
	}
	return r.contact
}

func (r *row) t() *ticket {
	if r.ticket == nil {
		r.ticket = r.w.ticket(r.i)
	}
	return r.ticket
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func stringField(f func(*row) []string) (fieldDef, bool) {
	return fieldDef{typ: typeString, strs: f}, true
}
func boolField(f func(*row) bool) (fieldDef, bool) { return fieldDef{typ: typeBool, boolean: f}, true }

func dateField(f func(*row) int64) (fieldDef, bool) {
	return fieldDef{typ: typeDate, num: func(r *row) (int64, bool) { v := f(r); return v, v != 0 }}, true
}

func commonField(name string) (fieldDef, bool) {
	switch name {
	case "created_at":
		return dateField(func(r *row) int64 { return r.w.created(r.kind, r.i) })
	case "updated_at":
		return dateField(func(r *row) int64 { return r.w.updated(r.kind, r.i) })
	}
	return fieldDef{}, false
}

func conversationField(name string) (fieldDef, bool) {
	if f, ok := commonField(name); ok {
		return f, ok
	}
	assignee := func(f func(*row) string) (fieldDef, bool) {
		return fieldDef{typ: typeInteger, num: func(r *row) (int64, bool) {
			n, err := strconv.ParseInt(f(r), 10, 64)
			return n, err == nil
		}}, true
	}
	switch name {
	case "id":
		return stringField(func(r *row) []string { return one(conversationID(r.i)) })
	case "state":
		return stringField(func(r *row) []string { return one(r.h().state.String()) })
	case "open":
		return boolField(func(r *row) bool { return r.h().state == stateOpen })
	case "read":
		return boolField(func(r *row) bool { return r.c().read })
	case "contact_ids":
		return stringField(func(r *row) []string {
			h := r.h()
			var out []string
			for _, ref := range r.w.contactRefs(h.contact, r.w.customer(h.contact)) {
				out = append(out, ref.id)
			}
			return out
		})
	case "teammate_ids":
		return stringField(func(r *row) []string {
			return idsOf(r.c().teammates, func(i int) string { return r.w.gen.admins()[i].id })
		})
	case "source.type", "channel_initiated":
		return stringField(func(r *row) []string { return one(sourceKinds[r.h().source].typ) })
	case "source.id":
		return stringField(func(r *row) []string { return one(r.c().sourceID) })
	case "source.delivered_as":
		return stringField(func(r *row) []string { return one(r.c().deliveredAs) })
	case "source.subject":
		return stringField(func(r *row) []string { return one(r.c().subject) })
	case "source.body": // compared word by word
		return stringField(func(r *row) []string { return strings.Fields(r.c().body.plain) })
	case "source.url":
		return stringField(func(r *row) []string { return one(r.c().url) })
	case "source.author.id":
		return stringField(func(r *row) []string { return one(r.c().author.id) })
	case "source.author.type":
		return stringField(func(r *row) []string { return one(r.c().author.typ) })
	case "source.author.name":
		return stringField(func(r *row) []string { return one(r.c().author.name) })
	case "source.author.email":
		return stringField(func(r *row) []string { return one(r.c().author.email) })
	case "admin_assignee_id":
		return assignee(func(r *row) string {
			if a := r.h().admin; a >= 0 {
				return r.w.gen.admins()[a].id
			}
			return "0"
		})
	case "team_assignee_id":
		return assignee(func(r *row) string {
			if t := r.h().team; t >= 0 {
				return teamID(t)
			}
			return "0"
		})
	case "waiting_since":
		return dateField(func(r *row) int64 { return r.c().waitingSince })
	case "snoozed_until":
		return dateField(func(r *row) int64 { return r.c().snoozedUntil })
	case "tag_ids":
		return stringField(func(r *row) []string {
			var out []string
			for _, t := range r.c().tags {
				out = append(out, tagID(t.tag))
			}
			return out
		})
	case "priority":
		return stringField(func(r *row) []string {
			return one([...]string{"none", "low", "medium", "high", "urgent"}[r.c().priority])
		})
	case "ai_agent_participated":
		return boolField(func(r *row) bool { return r.c().ai != nil })
	case "statistics.count_conversation_parts":
		return fieldDef{typ: typeInteger, num: func(r *row) (int64, bool) { return int64(len(r.c().parts)), true }}, true
	case "statistics.first_contact_reply_at":
		return dateField(func(r *row) int64 { return r.c().firstBy("user") })
	case "statistics.first_admin_reply_at":
		return dateField(func(r *row) int64 { return r.c().firstBy("admin") })
	case "conversation_rating.score":
		return fieldDef{typ: typeInteger, num: func(r *row) (int64, bool) {
			if r.c().rating == nil {
				return 0, false
			}
			return int64(r.c().rating.score), true
		}}, true
	}
	return fieldDef{}, false
}

func contactField(name string) (fieldDef, bool) {
	if f, ok := commonField(name); ok {
		return f, ok
	}
	str := func(f func(*contact) string) (fieldDef, bool) {
		return stringField(func(r *row) []string { return one(f(r.person())) })
	}
	date := func(f func(*contact) int64) (fieldDef, bool) {
		return dateField(func(r *row) int64 { return f(r.person()) })
	}
	switch name {
	case "id":
		return str(func(c *contact) string { return c.id })
	case "role":
		return str(func(c *contact) string { return c.role })
	case "name":
		return str(func(c *contact) string { return c.name })
	case "email":
		return str(func(c *contact) string { return strings.TrimSpace(c.email) })
	case "email_domain":
		return str(func(c *contact) string { return domainOf(c.email) })
	case "phone", "formatted_phone":
		return str(func(c *contact) string { return c.phone })
	case "external_id":
		return str(func(c *contact) string { return c.externalID })
	case "owner_id":
		return stringField(func(r *row) []string {
			if o := r.person().owner; o >= 0 {
				return one(r.w.gen.admins()[o].id)
			}
			return nil
		})
	case "browser":
		return str(func(c *contact) string { return c.browser })
	case "browser_language":
		return str(func(c *contact) string { return c.language })
	case "os":
		return str(func(c *contact) string { return c.os })
	case "location.country":
		return str(func(c *contact) string { return c.place[0] })
	case "location.region":
		return str(func(c *contact) string { return c.place[1] })
	case "location.city":
		return str(func(c *contact) string { return c.place[2] })
	case "signed_up_at":
		return date(func(c *contact) int64 { return c.signedUp })
	case "last_seen_at":
		return date(func(c *contact) int64 { return c.lastSeen })
	case "last_contacted_at":
		return date(func(c *contact) int64 { return c.lastContacted })
	case "last_replied_at":
		return date(func(c *contact) int64 { return c.lastReplied })
	case "last_email_opened_at":
		return date(func(c *contact) int64 { return c.lastOpened })
	case "unsubscribed_from_emails":
		return boolField(func(r *row) bool { return r.person().unsubscribed })
	case "marked_email_as_spam":
		return boolField(func(r *row) bool { return r.person().spam })
	case "has_hard_bounced":
		return boolField(func(r *row) bool { return r.person().bounced })
	case "segment_id":
		return stringField(func(r *row) []string { return idsOf(r.person().segments, r.w.segmentID) })
	case "tag_id":
		return stringField(func(r *row) []string { return idsOf(r.person().tags, tagID) })
	}
	if attr, ok := strings.CutPrefix(name, "custom_attributes."); ok && attr != "" {
		return str(func(c *contact) string {
			for _, a := range c.attributes {
				if a.name == attr {
					return strings.Trim(a.value, `"`)
				}
			}
			return ""
		})
	}
	return fieldDef{}, false
}

func ticketField(name string) (fieldDef, bool) {
	if f, ok := commonField(name); ok {
		return f, ok
	}
	str := func(f func(*ticket) string) (fieldDef, bool) {
		return stringField(func(r *row) []string { return one(f(r.t())) })
	}
	switch name {
	case "id":
		return str(func(t *ticket) string { return t.id })
	case "title":
		return str(func(t *ticket) string { return t.title })
	case "description":
		return str(func(t *ticket) string { return t.description })
	case "category": // by the words of the search, not by those of the object
		return str(func(t *ticket) string {
			switch ticketTypes[t.typ].category {
			case "Customer":
				return "request"
			case "Back-office":
				return "task"
			}
			return "tracker"
		})
	case "ticket_type_id":
		return str(func(t *ticket) string { return ticketTypes[t.typ].id })
	case "state":
		return str(func(t *ticket) string { return ticketStates[t.state].category })
	case "open":
		return boolField(func(r *row) bool { return ticketStates[r.t().state].category != "resolved" })
	case "contact_ids":
		return stringField(func(r *row) []string {
			var out []string
			for _, c := range r.t().contacts {
				out = append(out, c.id)
			}
			return out
		})
	case "admin_assignee_id":
		return stringField(func(r *row) []string {
			if a := r.t().admin; a >= 0 {
				return one(r.w.gen.admins()[a].id)
			}
			return one("0")
		})
	case "team_assignee_id":
		return stringField(func(r *row) []string {
			if t := r.t().team; t >= 0 {
				return one(teamID(t))
			}
			return one("0")
		})
	case "snoozed_until":
		return dateField(func(r *row) int64 { return r.t().snoozedUntil })
	}
	return fieldDef{}, false
}

func trimLower(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
