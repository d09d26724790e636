package extract

import (
	"time"

	"haloingest/pipeline/record"
)

func (d *decoder) conversation(v value, id string) *record.Conversation {
	c := &record.Conversation{ID: id}
	var source, parts, statistics, user value
	var contacts []record.Ref
	var sourceType, channel string
	for it := v.each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "type", "id", "open", "read", "ai_agent_participated", "sales_agent_participated", "teammates":
		case "title":
			c.Title = d.line(m, "title")
		case "state":
			c.State = d.string(m, "state")
		case "priority":
			c.Priority = d.string(m, "priority")
		case "channel":
			channel = d.string(d.inner(m, "channel").get("initial"), "channel")
		case "source":
			source = d.inner(m, "source")
		case "contacts":
			contacts = d.contactRefs(m, "contacts")
		case "user": // API 1.x
			user = m
		case "company":
			if m.kind() == object {
				c.Company, c.CompanyName = d.id(m.get("id"), "company.id"), d.string(m.get("name"), "company.name")
			} else {
				c.Company = d.assignee(m, "company")
			}
		case "admin_assignee_id":
			c.AdminAssignee = d.assignee(m, "admin_assignee_id")
		case "team_assignee_id":
			c.TeamAssignee = d.assignee(m, "team_assignee_id")
		case "tags":
			c.Tags = d.named(m, "tags", d.ref.Tags)
		case "conversation_rating":
			c.Rating = d.rating(m)
		case "ai_agent":
			c.AIAgent = d.aiAgent(m)
		case "ticket":
			if m.kind() == object && !m.empty() {
				// A Customer ticket has the id of its conversation (fact sheet, section 6).
				if c.TicketID = d.id(m.get("id"), "ticket.id"); c.TicketID == "" {
					c.TicketID = id
				}
			} else {
				c.TicketID = d.assignee(m, "ticket")
			}
		case "linked_objects":
			for _, l := range d.linked(m) {
				if l.Type == "ticket" {
					c.LinkedTickets = append(c.LinkedTickets, l.ID)
				} else {
					c.LinkedOthers = append(c.LinkedOthers, l)
				}
			}
		case "custom_attributes":
			c.Custom = d.attributes(m, "custom_attributes", true)
		case "conversation_parts":
			parts = m
		case "statistics":
			statistics = d.inner(m, "statistics")
		case "first_contact_reply":
			if m.kind() == object {
				c.FirstContact = d.time(m.get("created_at"), "first_contact_reply.created_at")
			}
		case "created_at":
			c.CreatedAt = d.time(m, "created_at")
		case "updated_at":
			c.UpdatedAt = d.time(m, "updated_at")
		case "waiting_since":
			c.WaitingSince = d.time(m, "waiting_since")
		case "snoozed_until":
			c.SnoozedUntil = d.time(m, "snoozed_until")
		default:
			d.unmapped(m)
		}
	}
	d.known("state", c.State, "open", "closed", "snoozed")
	d.known("priority", c.Priority, "none", "low", "medium", "high", "urgent", "priority", "not_priority")
	c.Contacts = contacts
	if len(contacts) == 0 && user.kind() == object {
		if r := (record.Ref{ID: d.id(user.get("id"), "user.id"), ExternalID: d.string(user.get("user_id"), "user.user_id")}); r.ID != "" {
			c.Contacts = []record.Ref{r}
		}
	}
	if !source.empty() {
		sourceType = d.string(source.get("type"), "source.type")
		d.known("source.type", sourceType, "conversation", "email", "phone_call", "phone_switch", "whatsapp", "facebook",
			"instagram", "twitter", "sms", "push", "inapp", "api", "slack", "discord", "zendesk_ticket", "zendesk_sunshine")
		c.DeliveredAs = d.string(source.get("delivered_as"), "source.delivered_as")
		c.SourceURL = stableURLs(d.string(source.get("url"), "source.url"))
		c.Subject = d.line(source.get("subject"), "source.subject")
	}
	if d.bool(source.get("redacted"), "source.redacted") {
		// The subject is part of what was redacted, and a title that repeats it with it.
		if c.Title == c.Subject {
			c.Title = ""
		}
		c.Subject = ""
	}
	if c.Subject == "" {
		c.Subject = c.Title
	}
	if c.Channel = channel; channel == "" {
		c.Channel = sourceType
	}
	d.conversationMessages(c, source, parts, statistics)
	return c
}

func (d *decoder) conversationMessages(c *record.Conversation, source, parts, statistics value) {
	list := d.parts(parts, "conversation_parts")
	c.HeldParts, c.ExpectedParts = len(list), len(list)
	if n, ok := d.int64(statistics.get("count_conversation_parts"), "statistics.count_conversation_parts"); ok && n < 1<<31 {
		c.ExpectedParts = int(n)
	} else {
		// The total of the list itself counts what is in the reply; it says no more than that of a long list.
		c.ExpectedParts = d.stated(parts, "conversation_parts", len(list))
		c.Truncated = c.HeldParts >= maxParts && c.ExpectedParts <= c.HeldParts
	}
	if c.FirstContact.IsZero() {
		c.FirstContact = d.time(statistics.get("first_contact_reply_at"), "statistics.first_contact_reply_at")
	}
	c.Messages = make([]record.Message, 0, len(list)+1)
	if !source.empty() {
		c.Messages = append(c.Messages, d.source(source, c.ID, c.CreatedAt))
	}
	for i := range list {
		c.Messages = append(c.Messages, list[i].Message)
		if list[i].Kind == "close" && list[i].At.After(c.LastClosedAt) {
			c.LastClosedAt = list[i].At
		}
	}
	record.SortMessages(c.Messages)
	if c.LastClosedAt.IsZero() {
		c.LastClosedAt = d.time(statistics.get("last_close_at"), "statistics.last_close_at")
	}
}

// stated is how many parts there are by the list's own count, which counts those in the reply; held is how
// many different ones there are.
func (d *decoder) stated(v value, field string, held int) int {
	n, ok := d.int64(v.get("total_count"), field+".total_count")
	if !ok || n >= 1<<31 {
		return held
	}
	doubled := d.list(v, field, field).len() - held
	return max(int(n)-doubled, 0)
}

func (d *decoder) rating(v value) *record.Rating {
	v = d.inner(v, "conversation_rating")
	if v.empty() {
		return nil
	}
	r := &record.Rating{
		Score:     d.count(v.get("rating"), "conversation_rating.rating"),
		Remark:    d.line(v.get("remark"), "conversation_rating.remark"),
		CreatedAt: d.time(v.get("created_at"), "conversation_rating.created_at"),
	}
	// From API 2.17 on it may be a workflow that is rated.
	if t := v.get("teammate"); t.kind() == object {
		if kind := d.string(t.get("type"), "conversation_rating.teammate.type"); kind == "" || kind == "admin" {
			r.AdminID = d.assignee(t.get("id"), "conversation_rating.teammate.id")
		} else {
			d.known("conversation_rating.teammate.type", kind, "workflow")
		}
	}
	if r.Score == 0 && r.Remark == "" {
		return nil // asked for, not given
	}
	return r
}

func (d *decoder) aiAgent(v value) *record.AIAgent {
	v = d.inner(v, "ai_agent")
	if v.empty() {
		return nil
	}
	a := &record.AIAgent{
		Source:          d.string(v.get("source_type"), "ai_agent.source_type"),
		Title:           d.string(v.get("source_title"), "ai_agent.source_title"),
		LastAnswer:      d.string(v.get("last_answer_type"), "ai_agent.last_answer_type"),
		ResolutionState: d.string(v.get("resolution_state"), "ai_agent.resolution_state"),
		Rating:          d.count(v.get("rating"), "ai_agent.rating"),
		Remark:          d.line(v.get("rating_remark"), "ai_agent.rating_remark"),
	}
	d.known("ai_agent.resolution_state", a.ResolutionState, "assumed_resolution", "confirmed_resolution", "escalated",
		"negative_feedback", "procedure_handoff", "abandoned", "routed_to_team")
	return a
}

// linked reads linked_objects.
func (d *decoder) linked(v value) (list []record.LinkedObject) {
	for it := d.list(v, "linked_objects", "linked_objects").each(); it.next(); {
		m := it.value
		if m.kind() != object {
			m = value{}
		}
		l := record.LinkedObject{
			Type: d.string(m.get("type"), "linked_objects.type"), ID: d.id(m.get("id"), "linked_objects.id"),
			Category: d.string(m.get("category"), "linked_objects.category"),
		}
		if l.ID == "" {
			d.odd("linked_objects", "(reference without id)")
			continue
		}
		list = append(list, l)
	}
	return list
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
