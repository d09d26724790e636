package intercomtest

import "sort"

// conversation writes a conversation; list rows come without their parts.
func (e *encoder) conversation(c *conversation, v *view, withParts bool) {
	e.open()
	e.raw("type", `"conversation"`)
	if c.odds.numericID {
		e.raw("id", c.id)
	} else {
		e.str("id", c.id)
	}
	e.num("created_at", c.created)
	e.num("updated_at", c.updated)
	e.time("waiting_since", c.waitingSince)
	e.time("snoozed_until", c.snoozedUntil)
	e.conversationSource(c, v)
	e.contactRefs(c.contacts)
	e.firstReply(c)
	e.assignees(c, v)
	e.bool("open", c.state == stateOpen)
	if c.odds.state != "" {
		e.str("state", c.odds.state)
	} else {
		e.str("state", c.state.String())
	}
	e.bool("read", c.read)
	e.conversationTags(c, v)
	if v.version >= version216 {
		e.str("priority", [...]string{"none", "low", "medium", "high", "urgent"}[c.priority])
	} else {
		e.str("priority", [...]string{"not_priority", "priority"}[min(c.priority, 1)])
	}
	if c.slaName == "" {
		e.null("sla_applied")
	} else {
		e.object("sla_applied")
		e.raw("type", `"conversation_sla_summary"`)
		e.str("sla_name", c.slaName)
		e.str("sla_status", c.slaStatus)
		e.close()
	}
	e.statistics(c)
	e.rating(c)
	e.teammates(c, v)
	e.strOrNull("title", c.title)
	e.attributes("custom_attributes", c.attributes)
	e.raw("topics", "{}")
	if c.ticket >= 0 && v.tickets {
		e.object("ticket")
		e.raw("type", `"ticket"`)
		e.str("id", c.id)
		e.close()
	} else {
		e.null("ticket")
	}
	e.links(c.linked)
	e.aiAgent(c)
	if v.version >= version215 && c.company >= 0 && v.w.alive(Companies, c.company) {
		e.key("company")
		e.company(v.w.company(c.company), v)
	}
	if v.version >= version216 {
		e.object("channel")
		e.str("initial", sourceKinds[c.source].typ)
		e.str("current", sourceKinds[c.source].typ)
		e.close()
		e.raw("external_references", "[]")
	}
	if withParts {
		e.conversationParts(c, v)
	}
	e.b = append(e.b, c.odds.extra...)
	e.close()
}

func (e *encoder) conversationSource(c *conversation, v *view) {
	e.object("source")
	e.str("type", sourceKinds[c.source].typ)
	e.str("id", c.sourceID)
	e.str("delivered_as", c.deliveredAs)
	e.str("subject", c.subject)
	e.body(c.body, v)
	e.person("author", c.author, false)
	e.files("attachments", c.files, v, c.odds.nullFiles)
	e.strOrNull("url", c.url)
	e.bool("redacted", c.redacted)
	if c.email != nil {
		e.emailMetadata(c.email, true)
		if v.version >= version216 {
			e.list("recipients")
			e.open()
			e.raw("type", `"to"`)
			e.str("email", c.email.to[0])
			e.raw("drop_reason", "null")
			e.close()
			e.closeList()
		}
	}
	e.close()
}

func (e *encoder) body(t text, v *view) {
	switch {
	case t.null:
		e.null("body")
	case v.plain:
		s := t.plain
		if t.quoted != "" {
			s += "\n" + t.quoted
		}
		e.str("body", s)
	default:
		e.str("body", v.w.signFiles(t.html, v.now, 0, "&amp;"))
	}
}

func (e *encoder) firstReply(c *conversation) {
	if at := c.firstBy("user"); at != 0 {
		e.object("first_contact_reply")
		e.num("created_at", at)
		e.str("type", sourceKinds[c.source].typ)
		e.strOrNull("url", c.url)
		e.close()
		return
	}
	e.null("first_contact_reply")
}

// firstBy is when the first part with a text of such an author was written.
func (c *conversation) firstBy(author string) int64 {
	for i := range c.parts {
		p := &c.parts[i]
		if p.typ == "comment" && (p.author.typ == author || author == "user" && p.author.typ == "lead") {
			return p.created
		}
	}
	return 0
}

func (e *encoder) assignees(c *conversation, v *view) {
	nobody := "null"
	if c.odds.zeroAssignees {
		nobody = "0"
	}
	admin, team := "", ""
	if c.admin >= 0 && !c.odds.zeroAssignees {
		admin = v.w.gen.admins()[c.admin].id
	}
	if c.team >= 0 {
		team = teamID(c.team)
	}
	e.assignee("admin_assignee_id", admin, nobody, false)
	e.assignee("team_assignee_id", team, nobody, v.version < version215)
}

func (e *encoder) conversationTags(c *conversation, v *view) {
	e.object("tags")
	e.raw("type", `"tag.list"`)
	if c.odds.nullTags {
		e.null("tags")
		e.close()
		return
	}
	e.list("tags")
	for _, t := range c.tags {
		e.open()
		e.raw("type", `"tag"`)
		e.str("id", tagID(t.tag))
		e.str("name", v.w.base().voc.tags[t.tag])
		e.num("applied_at", t.at)
		e.reference("applied_by", t.by)
		e.close()
	}
	e.closeList()
	e.close()
}

func (e *encoder) statistics(c *conversation) {
	if c.odds.nullStatistics {
		e.null("statistics")
		return
	}
	var firstClose, lastClose, firstAssign, lastAssign, lastUser, lastAdmin int64
	var closer string
	var reopens, assignments int64
	for i := range c.parts {
		p := &c.parts[i]
		switch p.typ {
		case "close":
			if firstClose == 0 {
				firstClose = p.created
			}
			lastClose, closer = p.created, p.author.id
		case "open":
			reopens++
		case "assignment", "assign_and_reopen", "away_mode_assignment":
			assignments++
			if firstAssign == 0 {
				firstAssign = p.created
			}
			lastAssign = p.created
		case "comment":
			switch p.author.typ {
			case "user", "lead":
				lastUser = p.created
			case "admin":
				lastAdmin = p.created
			}
		}
	}
	firstAdmin := c.firstBy("admin")
	since := func(t int64) int64 {
		if t == 0 {
			return 0
		}
		return t - c.created
	}
	e.object("statistics")
	e.raw("type", `"conversation_statistics"`)
	for _, s := range [...]struct {
		k string
		v int64
	}{
		{"time_to_assignment", since(firstAssign)}, {"time_to_admin_reply", since(firstAdmin)},
		{"time_to_first_close", since(firstClose)}, {"time_to_last_close", since(lastClose)},
		{"first_contact_reply_at", c.firstBy("user")}, {"first_assignment_at", firstAssign}, {"first_admin_reply_at", firstAdmin},
		{"first_close_at", firstClose}, {"last_assignment_at", lastAssign}, {"last_contact_reply_at", lastUser},
		{"last_admin_reply_at", lastAdmin}, {"last_close_at", lastClose},
	} {
		if s.v != 0 {
			e.num(s.k, s.v)
		}
	}
	if closer != "" {
		e.str("last_closed_by_id", closer)
	}
	e.num("count_reopens", reopens)
	e.num("count_assignments", assignments)
	e.num("count_conversation_parts", int64(len(c.parts)))
	e.close()
}

func (e *encoder) rating(c *conversation) {
	r := c.rating
	if r == nil {
		e.null("conversation_rating")
		return
	}
	e.object("conversation_rating")
	e.num("rating", int64(r.score))
	e.str("remark", r.remark)
	e.num("created_at", r.requested)
	e.num("updated_at", r.replied)
	if len(c.contacts) > 0 {
		e.object("contact")
		e.raw("type", `"contact"`)
		e.str("id", c.contacts[0].id)
		e.strOrNull("external_id", c.contacts[0].externalID)
		e.close()
	}
	switch {
	case c.odds.workflowRater:
		e.reference("teammate", reference{"workflow", "4711"})
	case r.admin.typ != "":
		e.reference("teammate", r.admin)
	}
	e.close()
}

func (e *encoder) teammates(c *conversation, v *view) {
	if len(c.teammates) == 0 || c.odds.nullTeammates {
		e.null("teammates")
		return
	}
	e.object("teammates")
	e.raw("type", `"admin.list"`)
	e.list("teammates")
	for _, t := range c.teammates {
		e.open()
		e.raw("type", `"admin"`)
		e.str("id", v.w.gen.admins()[t].id)
		e.close()
	}
	e.closeList()
	e.close()
}

func (e *encoder) aiAgent(c *conversation) {
	a := c.ai
	e.bool("ai_agent_participated", a != nil)
	if a == nil {
		e.null("ai_agent")
		return
	}
	e.object("ai_agent")
	e.raw("source_type", `"workflow"`)
	e.str("source_title", a.title)
	e.str("last_answer_type", a.answer)
	e.str("resolution_state", a.resolution)
	if a.rating > 0 {
		e.num("rating", int64(a.rating))
		e.strOrNull("rating_remark", a.remark)
	} else {
		e.null("rating")
		e.null("rating_remark")
	}
	e.num("created_at", a.created)
	e.num("updated_at", a.updated)
	e.raw("content_sources", `{"type":"content_source.list","total_count":1,"content_sources":[{"content_type":"article","url":"https://help.example/articles/1","title":"Getting started","locale":"en"}]}`)
	e.close()
}

// maxParts is how many parts the API gives, the newest ones.
const maxParts = 500

// visible gives the parts that the API shows, oldest first.
func visible(parts []part) []part {
	if len(parts) > maxParts {
		return parts[len(parts)-maxParts:]
	}
	return parts
}

func (e *encoder) conversationParts(c *conversation, v *view) {
	shown := visible(c.parts)
	e.object("conversation_parts")
	e.raw("type", `"conversation_part.list"`)
	if c.odds.nullParts {
		e.null("conversation_parts")
	} else {
		e.list("conversation_parts")
		for i := range shown {
			e.part(&shown[i], v)
		}
		e.closeList()
	}
	e.num("total_count", int64(len(shown)))
	e.close()
}

func (e *encoder) part(p *part, v *view) {
	e.open()
	e.raw("type", `"conversation_part"`)
	e.partCommon(p, v, true)
	e.num("notified_at", p.notified)
	e.emailMetadata(p.email, false)
	e.object("metadata")
	if len(p.quickReply) > 0 {
		e.list("quick_reply_options")
		for i, q := range p.quickReply {
			e.open()
			e.str("text", q)
			e.str("uuid", "5f2c6d0e-7b1a-4c3d-9e8f-"+[...]string{"00000000000a", "00000000000b"}[i%2])
			e.close()
		}
		e.closeList()
	}
	if p.quickReplyID != "" {
		e.str("quick_reply_uuid", p.quickReplyID)
	}
	e.close()
	e.str("state", p.state.String())
	e.list("tags")
	for _, t := range p.tags {
		e.tagBasic(v.w, t)
	}
	e.closeList()
	if p.event != "" {
		e.raw("event_details", p.event)
	} else {
		e.null("event_details")
	}
	e.strOrNull("app_package_code", p.app)
	e.b = append(e.b, p.extra...)
	e.close()
}

// partCommon writes what parts of conversations and tickets share.
func (e *encoder) partCommon(p *part, v *view, withAI bool) {
	if p.numericID {
		e.num("id", int64(p.id))
	} else {
		e.str("id", decimal(p.id))
	}
	e.str("part_type", p.typ)
	e.body(p.body, v)
	e.num("created_at", p.created)
	e.num("updated_at", p.updated)
	e.reference("assigned_to", p.assigned)
	if p.noAuthor {
		e.null("author")
	} else {
		e.person("author", p.author, withAI)
	}
	e.files("attachments", p.files, v, p.nullFiles)
	e.strOrNull("external_id", p.externalID)
	e.bool("redacted", p.redacted)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
