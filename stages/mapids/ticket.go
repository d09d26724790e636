package mapids

import (
	"encoding/json"
	"maps"
	"strings"

	"haloingest/pipeline/record"
)

func (m *mapper) ticket(c *record.Change, in *record.Ticket) *fieldError {
	var cut cutMarks
	r := &record.TicketRow{
		Head:       m.head(c, in.ID, in.CreatedAt, in.UpdatedAt),
		CompanyID:  in.Company,
		Number:     in.Number,
		Subject:    cut.text(subject(in), subjectChars, "subject"),
		Message:    cut.text(in.Description, messageChars, "message"),
		Status:     status(in.StateCategory),
		Priority:   priority(in.Priority),
		Category:   cut.text(in.Category, nameChars, "category"),
		ResolvedAt: in.ResolvedAt,
	}
	if r.ResolvedAt.IsZero() && r.Status == "resolved" {
		// No part says when: it was made so, or Intercom gave the parts before no more. It was so at the
		// latest when the ticket last changed.
		r.ResolvedAt = in.UpdatedAt
	}
	if r.Message == "" { // as Halo's own API does it
		r.Message = r.Subject
	}
	if len(in.Contacts) > 0 {
		r.ContactID = in.Contacts[0].ID
	}
	if in.Category == "Customer" {
		// Such a ticket is a conversation, too, of the same id (fact sheet, section 6). Where it is not,
		// the sink finds no transcript of that id and sets no link.
		r.ConversationID = in.ID
	}
	switch {
	case in.AdminAssignee != "":
		r.Assignee = cut.text(m.adminName(in.AdminAssignee), nameChars, "assignee")
	case in.TeamAssignee != "":
		r.Assignee = cut.text(m.teamName(in.TeamAssignee), nameChars, "assignee")
	}
	_, r.MessagesJSON = cut.messages(in.Messages)
	if len(r.MessagesJSON) > hardBytes {
		return &fieldError{"messages", "more than PostgreSQL can hold in one document"}
	}
	r.Metadata = cut.metadata(m.ticketMeta(in), "attributes", maps.Clone(in.Attributes))
	m.note(c, cut)
	r.Seal(&m.enc)
	c.Ticket = r
	return nil
}

func (m *mapper) ticketMeta(in *record.Ticket) map[string]json.RawMessage {
	meta := map[string]json.RawMessage{
		"source":             json.RawMessage(`"intercom"`),
		"intercom_ticket_id": textJSON(in.ID),
	}
	put := putter(meta)
	put.text("state", in.StateCategory)
	put.text("state_id", in.StateID)
	put.text("state_label", in.StateLabel)
	put.named("type", in.TypeID, in.TypeName)
	put.text("category", in.Category)
	put.text("priority", in.Priority)
	put.named("assignee", in.AdminAssignee, m.stage.ref.Admins[in.AdminAssignee].Name)
	put.named("team", in.TeamAssignee, m.stage.ref.Teams[in.TeamAssignee])
	put.text("company", in.Company)
	put.refs("contacts", in.Contacts)
	put.time("snoozed_until", in.SnoozedUntil)
	put.linked("linked_objects", in.Linked)
	if in.Open {
		meta["open"] = boolJSON(true)
	}
	if in.Shared {
		meta["shared"] = boolJSON(true)
	}
	put.redacted(in.Messages)
	if in.HeldParts < in.ExpectedParts || in.Truncated {
		put.incomplete(in.ExpectedParts, in.HeldParts)
	}
	return meta
}

// subject is the ticket's title, or its type's name and number.
func subject(t *record.Ticket) string {
	if s := strings.TrimSpace(t.Title); s != "" {
		return s
	}
	name, number := t.TypeName, t.Number
	if name == "" {
		name = "Ticket"
	}
	if number == "" {
		number = t.ID
	}
	return name + " #" + number
}

// status is Halo's status of an Intercom state category (contract, "Mapping").
func status(category string) string {
	switch category {
	case "in_progress":
		return "in_progress"
	case "waiting_on_customer":
		return "snoozed"
	case "resolved":
		return "resolved"
	}
	return "open"
}

// priority maps the levels of API 2.16 and the two of before.
func priority(p string) string {
	switch p {
	case "priority", "high", "urgent":
		return "priority"
	}
	return "normal"
}
