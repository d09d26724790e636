package intercomtest

import (
	"strconv"
	"strings"
)

func (e *encoder) contact(c *contact, v *view) {
	e.open()
	e.raw("type", `"contact"`)
	e.str("id", c.id)
	e.str("workspace_id", v.w.opts.AppID)
	e.strOrNull("external_id", c.externalID)
	e.str("role", c.role)
	empty := c.odd == contactOddEmptyStrings
	opt := func(k, s string) {
		if s == "" && empty {
			e.str(k, "")
			return
		}
		e.strOrNull(k, s)
	}
	opt("email", c.email)
	opt("email_domain", domainOf(c.email))
	opt("phone", c.phone)
	opt("name", c.name)
	if c.avatar {
		e.raw("avatar", `{"type":"avatar","image_url":"https://static.intercomassets.example/avatars/`+c.id+`/square_128/profile.jpg"}`)
	} else {
		e.null("avatar")
	}
	switch {
	case c.owner < 0:
		e.null("owner_id")
	case v.version >= version216 && c.odd != contactOddNumericOwner:
		e.str("owner_id", v.w.gen.admins()[c.owner].id)
	default:
		e.raw("owner_id", v.w.gen.admins()[c.owner].id)
	}
	e.raw("social_profiles", `{"type":"list","data":[]}`)
	e.bool("has_hard_bounced", c.bounced)
	e.bool("marked_email_as_spam", c.spam)
	e.bool("unsubscribed_from_emails", c.unsubscribed)
	e.num("created_at", c.created)
	e.num("updated_at", c.updated)
	e.time("signed_up_at", c.signedUp)
	e.time("last_seen_at", c.lastSeen)
	e.time("last_replied_at", c.lastReplied)
	e.time("last_contacted_at", c.lastContacted)
	e.time("last_email_opened_at", c.lastOpened)
	e.null("last_email_clicked_at")
	e.null("language_override")
	e.strOrNull("browser", c.browser)
	e.null("browser_version")
	e.strOrNull("browser_language", c.language)
	e.strOrNull("os", c.os)
	if c.odd == contactOddNullLocation {
		e.null("location")
	} else {
		e.object("location")
		e.raw("type", `"location"`)
		e.strOrNull("country", c.place[0])
		e.strOrNull("region", c.place[1])
		e.strOrNull("city", c.place[2])
		e.null("country_code")
		e.null("continent_code")
		e.close()
	}
	for _, k := range [...]string{
		"android_app_name", "android_app_version", "android_device", "android_os_version", "android_sdk_version", "android_last_seen_at",
		"ios_app_name", "ios_app_version", "ios_device", "ios_os_version", "ios_sdk_version", "ios_last_seen_at",
	} {
		e.null(k)
	}
	e.attributes("custom_attributes", c.attributes)
	if c.odd == contactOddNullLists {
		e.null("tags")
		e.null("notes")
	} else {
		e.refs("tags", "tag", c.id, "tags", idsOf(c.tags, tagID))
		e.refs("notes", "note", c.id, "notes", idsOf(make([]int, c.notes), func(int) string { return strconv.Itoa(26_000_000 + c.index) }))
	}
	if ids := v.companyIDs(c); len(ids) == 0 && c.odd == contactOddNullLists {
		e.null("companies")
	} else {
		e.refs("companies", "company", c.id, "companies", ids)
	}
	e.refs("opted_out_subscription_types", "subscription", c.id, "subscriptions", nil)
	e.refs("opted_in_subscription_types", "subscription", c.id, "subscriptions", nil)
	e.null("utm_campaign")
	e.null("utm_content")
	e.null("utm_medium")
	e.strOrNull("utm_source", c.utmSource)
	e.null("utm_term")
	e.strOrNull("referrer", c.referrer)
	if v.mergeHistory && v.version >= version216 {
		e.list("merge_history")
		for _, m := range c.mergedFrom {
			e.mergeEntry(m)
		}
		e.closeList()
	}
	if c.odd == contactOddUnknownFields {
		e.raw("passport", `{"issued":true,"stamps":[1,"two",null]}`)
		e.raw("sms_consent", "null")
	}
	e.close()
}

func idsOf(list []int, id func(int) string) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = id(v)
	}
	return out
}

// companyIDs are the companies of a contact that still exist.
func (v *view) companyIDs(c *contact) []string {
	var out []string
	for _, i := range c.companies {
		if v.w.alive(Companies, i) {
			out = append(out, v.w.companyID(i))
		}
	}
	return out
}

func (w *Workspace) companyID(i int) string {
	return w.base().companyID(i, w.created(Companies, i))
}

func (e *encoder) mergeEntry(m mergeEntry) {
	e.open()
	e.raw("type", `"merge_history"`)
	e.str("source_contact_id", m.id)
	e.str("source_contact_role", m.role)
	e.time("merged_at", m.at)
	e.close()
}

func domainOf(email string) string {
	for i := len(email) - 1; i >= 0; i-- {
		if email[i] == '@' {
			return trimLower(email[i+1:])
		}
	}
	return ""
}

func (e *encoder) company(c *company, v *view) {
	e.open()
	e.raw("type", `"company"`)
	e.strOrNull("company_id", c.companyID)
	e.str("id", c.id)
	e.str("app_id", v.w.opts.AppID)
	if !c.noName {
		e.strOrNull("name", c.name)
	}
	// What was never set is left out, as in the examples of the description.
	if c.remote != 0 {
		e.num("remote_created_at", c.remote)
	}
	e.num("created_at", c.created)
	e.num("updated_at", c.updated)
	if c.lastRequest != 0 {
		e.num("last_request_at", c.lastRequest)
	}
	numbers := c.odd != companyOddNullNumbers
	if numbers {
		e.num("size", int64(c.size))
		e.raw("monthly_spend", c.spend)
		e.num("session_count", int64(c.sessions))
	} else {
		e.null("size")
		e.null("monthly_spend")
		e.null("session_count")
	}
	e.num("user_count", int64(v.w.memberCount(c.index)))
	if c.website != "" {
		e.str("website", c.website)
	}
	if c.industry != "" {
		e.str("industry", c.industry)
	}
	e.object("tags")
	e.raw("type", `"tag.list"`)
	if c.odd == companyOddNullTags {
		e.null("tags")
	} else {
		e.list("tags")
		for _, t := range c.tags {
			e.tagBasic(v.w, t)
		}
		e.closeList()
	}
	e.close()
	e.object("segments")
	e.raw("type", `"segment.list"`)
	e.list("segments")
	for _, s := range c.segments {
		e.segment(v.w, s, false)
	}
	e.closeList()
	e.close()
	switch {
	case c.odd == companyOddNullPlan:
		e.null("plan")
	case c.plan < 0:
		e.raw("plan", "{}")
	default:
		e.object("plan")
		e.raw("type", `"plan"`)
		e.str("id", strconv.Itoa(1600000+c.plan))
		e.str("name", v.w.base().voc.plans[c.plan])
		e.close()
	}
	e.attributes("custom_attributes", c.attributes)
	if c.odd == companyOddUnknownFields {
		e.raw("parent_company", `{"id":null,"depth":2.5}`)
	}
	e.close()
}

func (e *encoder) segment(w *Workspace, i int, count bool) {
	e.open()
	e.raw("type", `"segment"`)
	e.str("id", w.segmentID(i))
	e.str("name", w.base().voc.segments[i])
	e.num("created_at", w.opts.Start.Unix())
	e.num("updated_at", w.opts.Start.Unix()+int64(i)*86400)
	e.str("person_type", [...]string{"contact", "user"}[i%2])
	if count {
		e.num("count", int64(w.count(Contacts)/14))
	}
	e.close()
}

func (e *encoder) ticket(t *ticket, v *view) {
	e.open()
	e.raw("type", `"ticket"`)
	e.str("id", t.id)
	e.str("ticket_id", strconv.Itoa(t.number))
	e.object("ticket_attributes")
	if t.title != "" {
		e.str("_default_title_", t.title)
	}
	e.strOrNull("_default_description_", t.description)
	for _, a := range t.attributes {
		e.key(escapeKey(a.name))
		value := v.w.signFiles(a.value, v.now, ticketFileSize, "&")
		if v.w.opts.Files && v.w.opts.FileSize > 0 {
			value = strings.ReplaceAll(value, `"filesize":`+strconv.Itoa(ticketFileSize), `"filesize":`+strconv.Itoa(v.w.opts.FileSize))
		}
		e.b = append(e.b, value...)
	}
	e.close()
	state := ticketStates[t.state]
	if t.odd == ticketOddUnknownState {
		state = ticketStateDef{"3999", ticketStateUnknown, "Parked", "On hold"}
	}
	if v.version >= version212 {
		e.key("ticket_state")
		e.ticketState(state)
	} else {
		e.str("ticket_state", state.category)
		e.str("ticket_state_internal_label", state.internal)
		e.str("ticket_state_external_label", state.external)
	}
	if t.odd == ticketOddNullType {
		e.null("ticket_type")
	} else {
		e.key("ticket_type")
		e.ticketType(v.w, t.typ)
	}
	e.contactRefs(t.contacts)
	quoted, nobody := v.version < version216 || t.odd == ticketOddStringAssignee, "0"
	if quoted {
		nobody = `"0"`
	}
	if t.odd == ticketOddNullAssignee {
		nobody = "null"
	}
	admin, team := "", ""
	if t.admin >= 0 {
		admin = v.w.gen.admins()[t.admin].id
	}
	if t.team >= 0 {
		team = teamID(t.team)
	}
	e.assignee("admin_assignee_id", admin, nobody, quoted)
	e.assignee("team_assignee_id", team, nobody, quoted)
	e.num("created_at", t.created)
	e.num("updated_at", t.updated)
	e.object("ticket_parts")
	e.raw("type", `"ticket_part.list"`)
	shown := visible(t.parts)
	if t.odd == ticketOddNullParts && len(t.parts) == 0 {
		e.null("ticket_parts")
	} else {
		e.list("ticket_parts")
		for i := range shown {
			e.ticketPart(&shown[i], v)
		}
		e.closeList()
	}
	e.num("total_count", int64(len(shown)))
	e.close()
	e.bool("open", ticketStates[t.state].category != "resolved")
	if t.snoozedUntil != 0 {
		e.num("snoozed_until", t.snoozedUntil)
	}
	e.links(t.linked)
	e.str("category", ticketTypes[t.typ].category)
	e.bool("is_shared", t.shared)
	if v.version >= version216 {
		if t.previousState >= 0 {
			e.str("previous_ticket_state_id", ticketStates[t.previousState].id)
		} else {
			e.null("previous_ticket_state_id")
		}
	}
	if t.odd == ticketOddUnknownFields {
		e.raw("escalation_path", `["l1",{"level":2}]`)
	}
	e.close()
}

func (e *encoder) ticketState(s ticketStateDef) {
	e.open()
	e.raw("type", `"ticket_state"`)
	e.str("id", s.id)
	e.str("category", s.category)
	e.str("internal_label", s.internal)
	e.str("external_label", s.external)
	e.close()
}

func (e *encoder) ticketPart(p *part, v *view) {
	e.open()
	e.raw("type", `"ticket_part"`)
	e.partCommon(p, v, false)
	if p.ticketState != "" {
		e.str("ticket_state", p.ticketState)
	}
	if p.previousTicketState != "" {
		e.str("previous_ticket_state", p.previousTicketState)
	}
	if p.attribute != "" {
		e.raw("updated_attribute_data", p.attribute)
	} else {
		e.null("updated_attribute_data")
	}
	if p.app != "" {
		e.str("app_package_code", p.app)
	}
	e.b = append(e.b, p.extra...)
	e.close()
}
