package intercomtest

import (
	"fmt"
	"strings"
)

// evKind is a step of a conversation.
type evKind uint8

const (
	evCustomer evKind = iota
	evAgent
	evBot
	evBotAnswer
	evQuickReply
	evNote
	evAssign
	evDefaultAssign
	evTag
	evSnooze
	evUnsnooze
	evClose
	evReopen
	evRating
	evRemark
	evAttribute
	evPriority
	evSLA
	evAction
	evWorkflow
	evIdle
	evParticipant
	evMerged
)

// builder makes one conversation: first the sequence of its steps, then their
// times, then what was said.
type builder struct {
	s        *synthetic
	r        *rng
	c        *conversation
	customer *contact
	w        writer
	topic    topic
	steps    []evKind
	lastText string // what the other side said last, for quoting
	phase    int
}

func (b *builder) customerPerson() person {
	if b.customer == nil {
		if b.c.contact >= ghostBase {
			return person{typ: "user", id: b.s.contactID(b.c.contact, b.s.start), name: "Deleted contact", noEmail: true}
		}
		return person{typ: "user", noID: true, noName: true, noEmail: true}
	}
	p := person{typ: b.customer.role, id: b.customer.id, name: b.customer.name, email: strings.TrimSpace(b.customer.email)}
	p.noName, p.noEmail = p.name == "", p.email == ""
	return p
}

func (b *builder) adminPerson(i int) person {
	a := b.s.staff[max(0, i)%len(b.s.staff)]
	return person{typ: "admin", id: a.id, name: a.name, email: a.email}
}

func (b *builder) adminRef() reference { return reference{"admin", b.s.staff[max(0, b.c.admin)].id} }

func botPerson(ai bool) person {
	return person{typ: "bot", id: "991267399", name: "Fin", email: "operator+sim@intercom.example", fromAI: ai, aiAnswer: ai}
}

func (b *builder) speaker(k evKind) person {
	switch k {
	case evCustomer:
		return b.customerPerson()
	case evAgent:
		return b.adminPerson(b.c.admin)
	}
	return botPerson(false)
}

// source writes the opening message.
func (b *builder) source() {
	c, k := b.c, sourceKinds[b.c.source]
	c.author = b.speaker(k.by)
	switch {
	case c.source == sourcePhone:
		c.body = text{null: true}
	case k.by == evCustomer:
		c.body = b.w.decorate(paragraphs(pick(b.r, b.s.voc.greetings), b.w.fill(pick(b.r, b.topic.opening))+" "+b.w.sentences(b.topic.detail, b.r.between(1, 2))))
	case k.by == evAgent:
		c.body = paragraphs("Hi"+b.firstName()+",", "we have just changed something about "+b.w.slots[slotFeature]+" and would like to hear what you think. Reply to this message if anything looks wrong.")
	default:
		c.body = paragraphs(b.w.fill(pick(b.r, b.s.voc.bot)))
	}
	if c.source == sourceEmail || c.source == sourceCampaign {
		c.subject = b.w.fill(pick(b.r, b.topic.subjects))
		c.email = b.headers(c.author.email, c.author.name, 0)
		if c.source == sourceEmail && b.r.permille(120) {
			c.email.history = "<div><span>Forwarded message</span><blockquote>Please see below, this is for your colleagues.</blockquote></div>"
		}
	}
	if b.r.permille(80) && !c.body.null {
		c.files = b.attachments()
	}
	if b.r.permille(4) {
		c.redacted, c.body, c.files = true, redactedText(), nil
	}
	b.lastText = c.body.plain
}

// redactedText is what the API sends in place of a text that was taken out.
func redactedText() text {
	return text{html: "<p><i>This message was deleted</i></p>", plain: "This message was deleted"}
}

func (b *builder) headers(address, name string, n int) *emailHeaders {
	if address == "" {
		address = "unknown@mail.example"
	}
	return &emailHeaders{
		messageID: fmt.Sprintf("<%s.%d@mail.example>", b.c.id, n), subject: b.c.subject,
		from: [2]string{address, name}, to: [2]string{"help@support.example", "Support"},
	}
}

func (b *builder) firstName() string {
	if b.customer == nil || b.customer.name == "" {
		return ""
	}
	name, _, _ := strings.Cut(b.customer.name, " ")
	return " " + name
}

func (b *builder) attachments() []file {
	f := file{name: "screenshot-" + b.w.slots[slotN] + ".png", contentType: "image/png", size: b.r.between(20_000, 900_000), width: 1280, height: 800, key: b.r.next()}
	if b.r.permille(400) {
		f = file{name: "invoice " + b.w.slots[slotOrder] + ".pdf", contentType: "application/pdf", size: b.r.between(20_000, 400_000), key: b.r.next()}
	}
	if b.r.permille(200) {
		return []file{f, {name: "log.txt", contentType: "text/plain", size: 4711, key: b.r.next()}}
	}
	return []file{f}
}

// sequence draws the steps.
func (b *builder) sequence() {
	r, c := b.r, b.c
	add := func(k ...evKind) { b.steps = append(b.steps, k...) }
	speaker := evAgent
	if sourceKinds[c.source].by != evCustomer {
		speaker = evCustomer
	} else {
		switch k := r.n(1000); {
		case k < 250:
			add(evDefaultAssign)
		case k < 400:
			add(evAssign)
		}
		if r.permille(150) {
			add(evWorkflow, evBot)
			if r.permille(300) {
				add(evQuickReply)
			}
		}
		if r.permille(120) {
			add(evBotAnswer)
			c.ai = &aiAgent{title: "Fin over all articles", answer: "ai_answer", resolution: "escalated", created: c.created, updated: c.updated}
		}
	}
	for t := range c.turns {
		if speaker == evAgent && r.permille(70) {
			add(evNote)
		}
		add(speaker)
		if !r.permille(120) {
			if speaker == evAgent {
				speaker = evCustomer
			} else {
				speaker = evAgent
			}
		}
		switch k := r.n(1000); {
		case k < 40:
			add(evTag)
		case k < 70:
			add(evAttribute)
		case k < 90 && t+1 < c.turns:
			add(evSnooze, evUnsnooze)
		case k < 105:
			add(evAssign)
		case k < 115:
			add(evPriority)
		case k < 125:
			add(evSLA)
		case k < 132:
			add(evAction)
		case k < 138:
			add(evParticipant)
		case k < 146 && t+1 < c.turns:
			add(evClose, evReopen)
		}
	}
	switch c.state {
	case stateClosed:
		if r.permille(30) {
			add(evIdle)
		}
		if c.turns > 2 && r.permille(5) {
			add(evMerged)
		}
		add(evClose)
		if r.permille(250) {
			add(evRating)
			if r.permille(500) {
				add(evRemark)
			}
		}
	case stateSnoozed:
		add(evSnooze)
	}
}

// parts gives every step its time and its content.
func (b *builder) parts() {
	c, n := b.c, len(b.steps)
	c.parts = make([]part, 0, n+4)
	total, weights := int64(0), make([]int64, n)
	for i := range weights {
		w := int64(1 + b.r.n(100))
		if b.steps[i] != evCustomer && b.steps[i] != evAgent {
			w = 1 + w/10
		}
		weights[i] = w
		total += w
	}
	at, spent, state := c.created, int64(0), stateOpen
	for i, k := range b.steps {
		spent += weights[i]
		at = max(at, c.created+(c.updated-c.created)*spent/total)
		p := part{
			id: conversationPartID + uint64(c.index)*partsPerObject + uint64(i), created: at, updated: at, notified: at,
			body: text{null: true},
		}
		state = b.fill(&p, k, state)
		p.state = state
		if !p.body.null && b.r.permille(8) && (p.typ == "comment" || p.typ == "note") {
			p.redacted, p.body, p.files = true, redactedText(), nil
			p.updated = c.updated
		}
		c.parts = append(c.parts, p)
	}
}

// fill writes one part and gives the state that the conversation is in after it.
func (b *builder) fill(p *part, k evKind, state convState) convState {
	r, c := b.r, b.c
	p.author = b.adminPerson(c.admin)
	switch k {
	case evCustomer, evAgent:
		b.comment(p, k)
		if state == stateClosed || state == stateSnoozed {
			state = stateOpen
		}
	case evBot:
		p.typ, p.author, p.body = "comment", botPerson(false), paragraphs(pick(r, b.s.voc.bot))
		p.quickReply = []string{"Track my order", "Talk to a person"}
	case evBotAnswer:
		p.typ, p.author, p.body = "comment", botPerson(true), paragraphs(b.w.fill(pick(r, b.s.voc.botAnswers)))
	case evQuickReply:
		p.typ, p.author, p.body = "quick_reply", b.customerPerson(), paragraphs("Talk to a person")
		p.quickReplyID = "5f2c6d0e-7b1a-4c3d-9e8f-" + fmt.Sprintf("%012x", c.index)
	case evNote:
		p.typ, p.body = "note", paragraphs(b.w.sentences(b.topic.note, 1))
		if r.permille(100) {
			p.typ = pick(r, []string{"note_and_reopen", "note_and_unsnooze"})
		}
	case evAssign:
		p.typ = pick(r, []string{"assignment", "assignment", "assign_and_reopen", "away_mode_assignment"})
		p.assigned = reference{"admin", b.s.staff[max(0, c.admin)].id}
		if r.permille(300) {
			p.assigned = reference{"team", teamID(max(0, c.team))}
		} else if r.permille(50) {
			p.assigned = reference{"nobody_admin", ""}
		}
		if r.permille(300) { // an assignment may carry a text
			p.body = paragraphs("Could you take this one, please? " + b.w.sentences(b.topic.note, 1))
		}
	case evDefaultAssign:
		p.typ, p.author, p.assigned = "default_assignment", botPerson(false), reference{"team", teamID(max(0, c.team))}
	case evTag:
		p.typ, p.tags = "conversation_tags_updated", []int{r.n(len(b.s.voc.tags))}
	case evSnooze:
		p.typ, state = "snoozed", stateSnoozed
	case evUnsnooze:
		p.typ, p.author, state = "timer_unsnooze", botPerson(false), stateOpen
	case evClose:
		p.typ, state = "close", stateClosed
		if r.permille(300) {
			p.body = paragraphs(b.w.sentences(b.topic.closing, 1))
			b.lastText = p.body.plain
		}
	case evReopen:
		p.typ, p.author, state = "open", b.customerPerson(), stateOpen
		p.body = paragraphs("I am afraid it is back. " + b.w.sentences(b.topic.detail, 1))
	case evRating:
		p.typ, p.author = "conversation_rating_changed", b.customerPerson()
		c.rating = &rating{score: r.between(1, 5), requested: p.created, replied: p.created, admin: b.adminRef()}
	case evRemark:
		p.typ, p.author = "conversation_rating_remark_added", b.customerPerson()
		c.rating.remark = pick(r, b.s.voc.remarks)
		p.body = paragraphs(c.rating.remark)
		if c.rating.remark == "" {
			p.body = text{null: true}
		}
	case evAttribute:
		p.typ = "conversation_attribute_updated_by_admin"
		p.event = `{"attribute":{"name":"Topic"},"value":{"name":` + quoteJSON(b.topic.name) + `,"previous":null}}`
	case evPriority:
		p.typ, p.author = "priority_changed_by_rule", botPerson(false)
	case evSLA:
		p.typ, p.author = "conversation_sla_applied_by_rule", botPerson(false)
	case evAction:
		p.typ, p.app = "custom_action_finished", "crm-lookup"
		p.event = `{"action":{"name":"Look up order","result":"success"}}`
	case evWorkflow:
		p.typ, p.author = "operator_workflow_event", botPerson(false)
		p.event = `{"workflow":{"name":"Office hours"},"event":{"type":"step","result":"routed"}}`
	case evIdle:
		p.typ, p.author = "user_became_idle", botPerson(false)
	case evParticipant:
		p.typ = "participant_added"
	case evMerged:
		p.typ = "merged_primary_conversation"
	}
	return state
}

// comment writes one turn of the dialogue.
func (b *builder) comment(p *part, k evKind) {
	r, voc := b.r, b.s.voc
	p.typ, p.author = "comment", b.speaker(k)
	var t text
	if k == evAgent {
		pool := [][]string{b.topic.question, b.topic.fix, b.topic.closing}[min(b.phase, 2)]
		if b.phase > 2 {
			pool = b.topic.fix
		}
		line := pick(r, voc.smallTalk) + " " + b.w.sentences(pool, r.between(1, 2))
		switch r.n(4) {
		case 0:
			t = paragraphs("Hi"+b.firstName()+",", line, pick(r, voc.signOffs)+"\n"+p.author.name)
		case 1:
			t = paragraphs("Hi"+b.firstName()+",", line)
		default:
			t = paragraphs(line)
		}
		b.phase++
	} else {
		pool := [][]string{b.topic.answer, b.topic.answer, b.topic.result}[min(b.phase, 2)]
		if b.phase == 0 {
			pool = b.topic.detail
		}
		line := b.w.sentences(pool, r.between(1, 2))
		if r.permille(350) {
			line += " " + pick(r, voc.thanks)
		}
		t = paragraphs(line)
	}
	t = b.w.decorate(t)
	if b.c.source == sourceEmail && k == evCustomer {
		p.email = b.headers(p.author.email, p.author.name, len(b.c.parts)+1)
		if r.permille(350) && b.lastText != "" {
			t = b.w.reply(t, b.adminPerson(b.c.admin), p.created-3600, b.lastText)
		}
	}
	if r.permille(50) {
		p.files = b.attachments()
	}
	p.body = t
	b.lastText = t.plain
}
