package extract

import (
	"encoding/json"

	"haloingest/pipeline/record"
)

const (
	titleAttribute       = "_default_title_"
	descriptionAttribute = "_default_description_"
)

func (d *decoder) ticket(v value, id string) *record.Ticket {
	t := &record.Ticket{ID: id}
	var parts value
	for it := v.each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "type", "id", "previous_ticket_state_id", "ticket_state_internal_label", "ticket_state_external_label":
		case "ticket_id":
			t.Number = d.id(m, "ticket_id")
		case "category":
			t.Category = d.string(m, "category")
		case "ticket_type":
			d.ticketType(t, m)
		case "ticket_state":
			d.ticketState(t, m)
		case "ticket_attributes":
			d.ticketAttributes(t, m)
		case "contacts":
			t.Contacts = d.contactRefs(m, "contacts")
		case "admin_assignee_id":
			t.AdminAssignee = d.assignee(m, "admin_assignee_id")
		case "team_assignee_id":
			t.TeamAssignee = d.assignee(m, "team_assignee_id")
		case "company_id":
			t.Company = d.id(m, "company_id")
		case "company":
			t.Company = d.assignee(m, "company")
		case "priority":
			t.Priority = d.string(m, "priority")
		case "open":
			t.Open = d.bool(m, "open")
		case "is_shared":
			t.Shared = d.bool(m, "is_shared")
		case "linked_objects":
			t.Linked = d.linked(m)
		case "ticket_parts":
			parts = m
		case "created_at":
			t.CreatedAt = d.time(m, "created_at")
		case "updated_at":
			t.UpdatedAt = d.time(m, "updated_at")
		case "snoozed_until":
			t.SnoozedUntil = d.time(m, "snoozed_until")
		default:
			d.unmapped(m)
		}
	}
	if s, ok := d.ref.TicketStates[t.StateID]; ok && t.StateID != "" {
		if t.StateCategory == "" {
			t.StateCategory = s.Category
		}
		if t.StateLabel == "" {
			t.StateLabel = s.InternalLabel
		}
	}
	if t.StateLabel == "" { // a field of its own before API 2.12
		t.StateLabel = d.string(v.get("ticket_state_internal_label"), "ticket_state_internal_label")
	}
	if t.TypeName == "" {
		t.TypeName = d.ref.TicketTypes[t.TypeID]
	}
	d.known("category", t.Category, "Customer", "Back-office", "Tracker")
	d.known("ticket_state", t.StateCategory, "submitted", "in_progress", "waiting_on_customer", "resolved")
	d.known("priority", t.Priority, "none", "low", "medium", "high", "urgent", "priority", "not_priority")
	d.ticketMessages(t, parts)
	return t
}

func (d *decoder) ticketType(t *record.Ticket, v value) {
	if v.kind() == text || v.kind() == number { // only an id
		t.TypeID = d.id(v, "ticket_type")
		return
	}
	v = d.inner(v, "ticket_type")
	t.TypeID = d.id(v.get("id"), "ticket_type.id")
	t.TypeName = d.string(v.get("name"), "ticket_type.name")
	if t.Category == "" {
		t.Category = d.string(v.get("category"), "ticket_type.category")
	}
}

// ticketState reads the state: an object since API 2.12, the category alone before.
func (d *decoder) ticketState(t *record.Ticket, v value) {
	switch v.kind() {
	case text:
		t.StateCategory = v.text()
		return
	case number:
		t.StateID = d.id(v, "ticket_state")
		return
	}
	v = d.inner(v, "ticket_state")
	t.StateID = d.id(v.get("id"), "ticket_state.id")
	t.StateCategory = d.string(v.get("category"), "ticket_state.category")
	t.StateLabel = d.string(v.get("internal_label"), "ticket_state.internal_label")
}

// stateCategory reads the state that a ticket part states: a text, but tolerate an object.
func (d *decoder) stateCategory(v value) string {
	if v.kind() == object {
		v = v.get("category")
	}
	return d.string(v, "part.ticket_state")
}

// ticketAttributes reads title, description and the other attributes, which go by their display names.
func (d *decoder) ticketAttributes(t *record.Ticket, v value) {
	v = d.inner(v, "ticket_attributes")
	if v.empty() {
		return
	}
	t.Attributes = make(map[string]json.RawMessage, v.len())
	for it := v.each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case titleAttribute:
			t.Title = d.line(m, "ticket_attributes."+titleAttribute)
		case descriptionAttribute:
			t.Description = d.line(m, "ticket_attributes."+descriptionAttribute)
		default:
			d.attribute(t.Attributes, m, true)
		}
	}
	if len(t.Attributes) == 0 {
		t.Attributes = nil
	}
}

func (d *decoder) ticketMessages(t *record.Ticket, v value) {
	list := d.parts(v, "ticket_parts")
	t.HeldParts, t.ExpectedParts = len(list), d.stated(v, "ticket_parts", len(list))
	t.Truncated = t.HeldParts >= maxParts && t.ExpectedParts <= t.HeldParts
	for i := range list {
		t.Messages = append(t.Messages, list[i].Message)
		if p := &list[i]; t.StateCategory == "resolved" && p.state == "resolved" && p.previousState != "resolved" {
			t.ResolvedAt = latest(t.ResolvedAt, p.At)
		}
	}
	record.SortMessages(t.Messages)
}
