package extract

import (
	"strconv"
	"strings"
	"time"

	"haloingest/pipeline/record"
)

// maxParts is how many parts Intercom gives at most; a list of as many may have been longer (fact
// sheet, section 2.1).
const maxParts = 500

// author is who wrote a message.
type author struct {
	kind, id, name, email string
	ai                    bool
}

func (d *decoder) author(v value, field string) (a author) {
	for it := d.inner(v, field).each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "type":
			a.kind = d.string(m, "author.type")
		case "id":
			a.id = d.id(m, "author.id")
		case "name":
			a.name = d.string(m, "author.name")
		case "email":
			a.email = d.string(m, "author.email")
		case "from_ai_agent", "is_ai_answer":
			a.ai = d.bool(m, "author.from_ai_agent") || a.ai
		}
	}
	if a.name == "" && a.id != "" {
		switch a.kind {
		case "admin":
			a.name = d.ref.Admins[a.id].Name
		case "team":
			a.name = d.ref.Teams[a.id]
		}
	}
	return a
}

// speaker says which side an author is on. Authors of no known type, or of none, are nobody.
func (d *decoder) speaker(a author) string {
	if a.ai {
		return record.SpeakerBot
	}
	switch a.kind {
	case "user", "lead", "contact", "visitor":
		return record.SpeakerUser
	case "admin", "team":
		return record.SpeakerAgent
	case "bot", "workflow", "operator":
		return record.SpeakerBot
	case "":
		return record.SpeakerSystem
	}
	d.counts.add("unmapped/author_type", '/', []byte(a.kind))
	return record.SpeakerSystem
}

// message is what a part says beside its message proper.
type message struct {
	record.Message
	state, previousState string   // of a ticket part
	choices              []string // answers that it offers
}

// content sets body and attachments, or nothing of a redacted message.
func (d *decoder) content(m *record.Message, body string, files []record.Attachment) {
	if m.Redacted {
		d.counts.plain("redacted/" + string(d.kind))
		return
	}
	m.Attachments = files
	if body == "" {
		return
	}
	m.HTML = stableURLs(body)
	m.Text = stableURLs(d.html.text(m.HTML)) // again: entities may have hidden an address
}

// part reads one part of a conversation or ticket. Its type is its kind, but for the notes.
func (d *decoder) part(v value) (p message) {
	var by author
	var body string
	var files []record.Attachment
	for it := v.each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "id":
			p.ID = d.id(m, "part.id")
		case "part_type":
			p.Kind = d.string(m, "part_type")
		case "body":
			body = d.string(m, "part.body")
		case "author":
			by = d.author(m, "author")
		case "attachments":
			files = d.attachments(m, "attachments")
		case "redacted":
			p.Redacted = d.bool(m, "part.redacted")
		case "created_at":
			p.At = d.time(m, "part.created_at")
		case "ticket_state":
			p.state = d.stateCategory(m)
		case "previous_ticket_state":
			p.previousState = d.stateCategory(m)
		case "metadata":
			d.partMetadata(&p, m)
		case "type", "updated_at", "notified_at", "state", "external_id", "app_package_code":
		default:
			d.unmappedIn("part", m)
		}
	}
	if p.Kind == "" {
		p.Kind = "comment"
	}
	if !knownPartTypes[p.Kind] {
		d.counts.add("unmapped/part_type", '/', []byte(p.Kind))
	}
	says := p.Kind == "comment"
	switch p.Kind {
	case "note", "note_and_reopen", "note_and_unsnooze":
		p.Kind, says = record.MessageNote, true
	case record.MessageSource:
		p.Kind = "part:source" // the kind is taken by the opening message
	}
	p.AuthorID, p.AuthorName, p.AuthorEmail = by.id, by.name, by.email
	d.content(&p.Message, body, files)
	p.Speaker = d.speaker(by)
	if !says && !p.Redacted && p.Text == "" && len(p.Attachments) == 0 {
		p.Speaker = record.SpeakerSystem
	}
	p.Chosen = p.Speaker == record.SpeakerUser && (p.Chosen || p.Kind == "quick_reply")
	return p
}

// partMetadata reads what a part offers to answer with a press of a button, or that it is such an answer.
func (d *decoder) partMetadata(p *message, v value) {
	if v.kind() != object {
		d.unmappedIn("part", v)
		return
	}
	for it := v.each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "quick_reply_options":
			for o := m.each(); o.next(); {
				if t := o.get("text"); t.kind() == text {
					p.choices = append(p.choices, strings.TrimSpace(t.text()))
				}
			}
		case "quick_reply_uuid":
			p.Chosen = !m.empty()
		default:
			d.unmappedIn("part.metadata", m)
		}
	}
}

// markChosen marks the messages of users who typed one of the answers that they were offered last.
func markChosen(list []message) {
	var choices []string
	for i := range list {
		switch p := &list[i]; {
		case len(p.choices) > 0:
			choices = p.choices
		case p.Speaker == record.SpeakerUser:
			for _, c := range choices {
				p.Chosen = p.Chosen || strings.EqualFold(c, strings.TrimSpace(p.Text))
			}
			choices = nil
		}
	}
}

// parts reads the list of parts, each id once; of doubled ones the last stays, in the place of the first.
func (d *decoder) parts(v value, field string) []message {
	l := d.list(v, field, field)
	if l.empty() {
		return nil
	}
	if v.kind() == object {
		field += "." + field
	}
	list := make([]message, 0, l.len())
	place := make(map[string]int, cap(list))
	index := 0
	d.prefix = func() string { return field + "[" + strconv.Itoa(index) + "]." }
	defer func() { d.prefix = nil }()
	for it := l.each(); it.next(); index++ {
		switch it.kind() {
		case object:
		case null:
			d.odd("part", "(null)")
			continue
		default:
			d.prefix = nil
			d.want(it.value, field+"["+strconv.Itoa(index)+"]", "an object")
			return nil
		}
		p := d.part(it.value)
		if p.ID == "" {
			// Nothing says that two parts without an id are one. They are told apart by their place.
			d.odd("part", "(without id)")
			list = append(list, p)
			continue
		}
		if i, twice := place[p.ID]; twice {
			d.odd("part", "(doubled)")
			list[i] = p
			continue
		}
		place[p.ID] = len(list)
		list = append(list, p)
	}
	markChosen(list)
	return list
}

// source reads the opening message of a conversation.
func (d *decoder) source(v value, conversation string, at time.Time) record.Message {
	m := record.Message{Kind: record.MessageSource, At: at}
	var by author
	var body string
	var files []record.Attachment
	for it := v.each(); it.next(); {
		s := it.value
		switch string(s.key()) {
		case "id":
			m.ID = d.id(s, "source.id")
		case "body":
			body = d.string(s, "source.body")
		case "author":
			d.prefix = func() string { return "source." }
			by = d.author(s, "author")
			d.prefix = nil
		case "attachments":
			d.prefix = func() string { return "source." }
			files = d.attachments(s, "attachments")
			d.prefix = nil
		case "redacted":
			m.Redacted = d.bool(s, "source.redacted")
		case "type", "delivered_as", "subject", "url":
		default:
			d.unmappedIn("source", s)
		}
	}
	if m.ID == "" {
		m.ID = "source-" + conversation
	}
	m.AuthorID, m.AuthorName, m.AuthorEmail = by.id, by.name, by.email
	m.Speaker = d.speaker(by)
	d.content(&m, body, files)
	return m
}

func (d *decoder) attachments(v value, field string) (files []record.Attachment) {
	for it := d.list(v, field, "attachments").each(); it.next(); {
		if it.kind() != object {
			d.odd("attachment", "("+it.kind().String()+")")
			continue
		}
		var a record.Attachment
		for f := it.each(); f.next(); {
			m := f.value
			switch string(m.key()) {
			case "name":
				a.Name = d.string(m, "attachment.name")
			case "content_type":
				a.ContentType = d.string(m, "attachment.content_type")
			case "url":
				a.URL = withoutQuery(d.string(m, "attachment.url"))
			case "filesize":
				a.Size, _ = d.int64(m, "attachment.filesize")
			case "width":
				a.Width = d.count(m, "attachment.width")
			case "height":
				a.Height = d.count(m, "attachment.height")
			}
		}
		files = append(files, a)
	}
	return files
}

func withoutQuery(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		return url[:i]
	}
	return url
}

// knownPartTypes are those of the fact sheet, section 6. The set is open.
var knownPartTypes = func() map[string]bool {
	known := make(map[string]bool)
	for t := range strings.FieldsSeq(`comment note note_and_reopen note_and_unsnooze quick_reply assignment
		assign_and_unsnooze assign_and_reopen away_mode_assignment default_assignment workflow_assignment open close
		snoozed unsnoozed timer_unsnooze participant_added participant_removed conversation_rating_changed
		conversation_rating_remark_added conversation_attribute_updated_by_user
		conversation_attribute_updated_by_admin conversation_attribute_updated_by_workflow conversation_tags_updated
		conversation_sla_applied_by_rule conversation_sla_applied_by_workflow conversation_sla_removed
		conversation_sla_target_missed priority_changed priority_changed_by_rule custom_action_started
		custom_action_finished operator_workflow_event attribute_collector attribute_collected user_became_idle
		ticket_state_updated_by_admin ticket_attribute_updated_by_admin merged_primary_conversation`) {
		known[t] = true
	}
	return known
}()
