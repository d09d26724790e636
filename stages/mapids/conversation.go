package mapids

import (
	"encoding/json"
	"maps"
	"time"

	"haloingest/pipeline/record"
)

func (m *mapper) transcript(c *record.Change, in *record.Conversation) *fieldError {
	var cut cutMarks
	r := &record.TranscriptRow{
		Head:      m.head(c, in.ID, in.CreatedAt, in.UpdatedAt),
		CompanyID: in.Company,
		SessionID: "intercom_" + in.ID,
		Subject:   cut.text(in.Subject, subjectChars, "subject"),
		Status:    "active",
		Outcome:   outcome(in),
		StartedAt: in.CreatedAt,
	}
	if len(in.Contacts) > 0 {
		r.ContactID = in.Contacts[0].ID
	}
	if in.State == "closed" {
		r.Status = "completed"
		r.EndedAt = in.LastClosedAt
	}
	r.Messages, r.MessagesJSON = cut.messages(in.Messages)
	if len(r.MessagesJSON) > hardBytes {
		return &fieldError{"messages", "more than PostgreSQL can hold in one document"}
	}
	opening := len(in.Messages) - in.HeldParts // the opening message, if the conversation has one
	r.MessageCount = opening + in.HeldParts
	r.ExpectedMessageCount = opening + in.ExpectedParts
	r.Complete = in.HeldParts >= in.ExpectedParts && !in.Truncated

	meta := m.conversationMeta(in, !r.Complete)
	r.Metadata = cut.metadata(meta, "custom_attributes", maps.Clone(in.Custom))
	m.note(c, cut)
	r.Distill = distillInput(in)
	r.Seal(&m.enc)
	c.Transcript = r
	return nil
}

func (m *mapper) conversationMeta(in *record.Conversation, incomplete bool) map[string]json.RawMessage {
	meta := map[string]json.RawMessage{
		"source":                   json.RawMessage(`"intercom"`),
		"intercom_conversation_id": textJSON(in.ID),
	}
	put := putter(meta)
	put.text("state", in.State)
	put.text("title", in.Title)
	put.text("channel", in.Channel)
	put.text("delivered_as", in.DeliveredAs)
	put.text("priority", in.Priority)
	put.text("url", in.SourceURL)
	put.named("assignee", in.AdminAssignee, m.stage.ref.Admins[in.AdminAssignee].Name)
	put.named("team", in.TeamAssignee, m.stage.ref.Teams[in.TeamAssignee])
	put.named("company", in.Company, in.CompanyName)
	put.names("tags", in.Tags)
	put.refs("contacts", in.Contacts)
	put.time("waiting_since", in.WaitingSince)
	put.time("snoozed_until", in.SnoozedUntil)
	put.time("first_contact_reply_at", in.FirstContact)
	put.text("ticket_id", in.TicketID)
	put.texts("linked_tickets", in.LinkedTickets)
	put.linked("linked_objects", in.LinkedOthers)
	if r := in.Rating; r != nil {
		rating := make(map[string]json.RawMessage)
		inner := putter(rating)
		inner.int("score", r.Score)
		inner.text("remark", r.Remark)
		inner.time("created_at", r.CreatedAt)
		inner.named("teammate", r.AdminID, m.stage.ref.Admins[r.AdminID].Name)
		put.object("rating", rating)
	}
	if a := in.AIAgent; a != nil {
		agent := make(map[string]json.RawMessage)
		inner := putter(agent)
		inner.text("source_type", a.Source)
		inner.text("source_title", a.Title)
		inner.text("last_answer_type", a.LastAnswer)
		inner.text("resolution_state", a.ResolutionState)
		inner.int("rating", a.Rating)
		inner.text("rating_remark", a.Remark)
		put.object("ai_agent", agent)
	}
	put.redacted(in.Messages)
	if incomplete {
		put.incomplete(in.ExpectedParts, in.HeldParts)
	}
	return meta
}

// outcome is Halo's word for how a conversation ended. What Intercom's AI agent reports comes first,
// in the words of either API version (2.15 renamed them). Without one, a closed conversation in which
// the customer wrote is resolved if somebody answered after the customer's first message, else
// abandoned. What the customer did not write in, or what is not closed, has no outcome.
func outcome(c *record.Conversation) string {
	if c.AIAgent != nil {
		switch c.AIAgent.ResolutionState {
		case "assumed_resolution", "confirmed_resolution":
			return "resolved"
		case "escalated", "routed_to_team", "procedure_handoff":
			return "escalated"
		case "negative_feedback", "abandoned":
			return "abandoned"
		}
	}
	if c.State != "closed" {
		return ""
	}
	asked := false
	for i := range c.Messages {
		m := &c.Messages[i]
		switch {
		case m.Speaker == record.SpeakerUser:
			asked = true
		case asked && m.Kind != record.MessageNote && m.Speaker != record.SpeakerSystem:
			return "resolved"
		}
	}
	if asked {
		return "abandoned"
	}
	return ""
}

// distillInput gathers what the distiller may know. The customer's name and address are those that the
// conversation itself shows: contacts are not joined here.
func distillInput(c *record.Conversation) record.DistillInput {
	in := record.DistillInput{CompanyName: c.CompanyName, State: c.State}
	if c.Rating != nil {
		in.RatingScore = c.Rating.Score
	}
	for _, t := range c.Tags {
		if t.Name != "" {
			in.Tags = append(in.Tags, t.Name)
		}
	}
	customer := ""
	if len(c.Contacts) > 0 {
		customer = c.Contacts[0].ID
	}
	for i := range c.Messages {
		m := &c.Messages[i]
		if m.Speaker != record.SpeakerUser || customer != "" && m.AuthorID != customer {
			continue
		}
		if in.CustomerName == "" {
			in.CustomerName = m.AuthorName
		}
		if in.CustomerEmail == "" {
			in.CustomerEmail = m.AuthorEmail
		}
	}
	return in
}

// putter enters values into a map of JSON, but none that say nothing.
type putter map[string]json.RawMessage

func (p putter) text(key, s string) {
	if s != "" {
		p[key] = textJSON(s)
	}
}

func (p putter) int(key string, n int) {
	if n != 0 {
		p[key] = intJSON(n)
	}
}

func (p putter) time(key string, t time.Time) {
	if !t.IsZero() {
		p[key] = record.AppendTime(nil, t)
	}
}

func (p putter) object(key string, fields map[string]json.RawMessage) {
	if len(fields) > 0 {
		p[key] = record.AppendObject(nil, fields)
	}
}

// named enters {id, name}.
func (p putter) named(key, id, name string) {
	if id == "" && name == "" {
		return
	}
	fields := make(map[string]json.RawMessage, 2)
	inner := putter(fields)
	inner.text("id", id)
	inner.text("name", name)
	p.object(key, fields)
}

func (p putter) names(key string, list []record.Named) {
	if len(list) > 0 {
		p[key] = nameList(list)
	}
}

func (p putter) texts(key string, list []string) {
	if len(list) > 0 {
		p[key] = textList(list)
	}
}

// refs enters ids in their order: the first contact is the customer.
func (p putter) refs(key string, list []record.Ref) {
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.ID
	}
	p.texts(key, ids)
}

func (p putter) linked(key string, list []record.LinkedObject) {
	if len(list) == 0 {
		return
	}
	dst := []byte{'['}
	for i, l := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		fields := make(map[string]json.RawMessage, 3)
		inner := putter(fields)
		inner.text("type", l.Type)
		inner.text("id", l.ID)
		inner.text("category", l.Category)
		dst = record.AppendObject(dst, fields)
	}
	p[key] = append(dst, ']')
}

func (p putter) redacted(messages []record.Message) {
	var ids []string
	for i := range messages {
		if messages[i].Redacted {
			ids = append(ids, messages[i].ID)
		}
	}
	p.texts("redacted", ids)
}

// incomplete says how many parts Intercom counts and gave.
func (p putter) incomplete(expected, held int) {
	fields := map[string]json.RawMessage{"held": intJSON(held)}
	if expected > held {
		fields["expected"] = intJSON(expected)
	}
	p.object("incomplete", fields)
}
