package intercomtest

import (
	"strconv"
	"strings"
)

func (c *call) me() {
	if !c.need(ScopeAdmins) {
		return
	}
	o, e := c.w.opts, &c.out
	e.open()
	e.raw("type", `"admin"`)
	e.str("id", "991267459")
	e.str("email", "owner@support.example")
	e.str("name", "Integration Owner")
	e.raw("email_verified", "true")
	if o.NoApp {
		e.null("app")
	} else {
		e.object("app")
		e.raw("type", `"app"`)
		e.str("id_code", o.AppID)
		e.str("name", o.AppName)
		e.num("created_at", o.Start.Unix())
		e.raw("secure", "false")
		e.raw("identity_verification", "false")
		e.str("timezone", o.Timezone)
		e.str("region", o.Region)
		e.close()
	}
	e.raw("avatar", `{"type":"avatar","image_url":"https://static.intercomassets.example/assets/default-avatars/admins/128.png"}`)
	e.raw("has_inbox_seat", "true")
	e.close()
}

func (c *call) listAdmins() {
	if !c.need(ScopeAdmins) {
		return
	}
	e := &c.out
	e.open()
	e.raw("type", `"admin.list"`)
	e.list("admins")
	for _, a := range c.w.gen.admins() {
		if !a.removed {
			e.admin(a)
		}
	}
	e.closeList()
	e.close()
}

func (e *encoder) admin(a admin) {
	e.open()
	e.raw("type", `"admin"`)
	e.str("id", a.id)
	e.str("name", a.name)
	e.str("email", a.email)
	e.raw("away_mode_enabled", "false")
	e.raw("away_mode_reassign", "false")
	e.raw("has_inbox_seat", "true")
	e.list("team_ids")
	for _, t := range a.teams {
		e.comma()
		e.b = append(e.b, teamID(t)...)
	}
	e.closeList()
	e.close()
}

func (c *call) listTeams() {
	if !c.need(ScopeAdmins) {
		return
	}
	e := &c.out
	e.open()
	e.raw("type", `"team.list"`)
	e.list("teams")
	for i, name := range c.w.base().voc.teams {
		e.open()
		e.raw("type", `"team"`)
		e.str("id", teamID(i))
		e.str("name", name)
		e.list("admin_ids")
		for _, a := range c.w.gen.admins() {
			if a.teams[0] == i && !a.removed {
				e.comma()
				e.b = append(e.b, a.id...)
			}
		}
		e.closeList()
		e.close()
	}
	e.closeList()
	e.close()
}

func (c *call) listTags() {
	if !c.need(ScopeTags) {
		return
	}
	e := &c.out
	e.open()
	e.raw("type", `"list"`)
	e.list("data")
	for i := range c.w.base().voc.tags {
		e.tagBasic(c.w, i)
	}
	e.closeList()
	e.close()
}

func (c *call) listSegments() {
	if !c.need(ScopeContacts) {
		return
	}
	e := &c.out
	e.open()
	e.raw("type", `"segment.list"`)
	e.list("segments")
	for i := range c.w.base().voc.segments {
		e.segment(c.w, i, c.param("include_count") == "true")
	}
	e.closeList()
	e.close()
}

// dataAttribute is a row of GET /data_attributes. Standard attributes have no id.
type dataAttribute struct {
	id                            int
	model, name, full, label, typ string
	archived                      bool
}

func dataAttributesTable() []dataAttribute {
	return []dataAttribute{
		{0, "contact", "email", "email", "Email", "string", false},
		{0, "contact", "name", "name", "Name", "string", false},
		{0, "contact", "country", "location.country", "Country", "string", false},
		{8101, "contact", "plan_tier", "custom_attributes.plan_tier", "Plan tier", "string", false},
		{8102, "contact", "seats", "custom_attributes.seats", "Seats", "integer", false},
		{8103, "contact", "mrr", "custom_attributes.mrr", "MRR", "float", false},
		{8104, "contact", "is_partner", "custom_attributes.is_partner", "Partner?", "boolean", false},
		{8105, "contact", "renewal_at", "custom_attributes.renewal_at", "Renewal", "date", false},
		{8106, "contact", "crm_id", "custom_attributes.crm_id", "CRM id", "string", false},
		{8107, "contact", "fax", "custom_attributes.fax", "Fax", "string", true},
		{0, "company", "name", "name", "Company name", "string", false},
		{0, "company", "name", "plan.name", "Plan", "string", false},
		{0, "company", "monthly_spend", "monthly_spend", "Monthly Spend", "float", false},
		{8201, "company", "plan_tier", "custom_attributes.plan_tier", "Plan tier", "string", false},
		{8202, "company", "crm_id", "custom_attributes.crm_id", "CRM id", "string", false},
	}
}

func (c *call) dataAttributes() {
	if !c.need(ScopeContacts) {
		return
	}
	model := c.param("model")
	if model == "conversation" && c.v.version >= version216 {
		c.fail(422, "parameter_invalid", "model=conversation is no longer supported. Use GET /conversations/attributes instead")
		return
	}
	e := &c.out
	e.open()
	e.raw("type", `"list"`)
	e.list("data")
	for _, a := range dataAttributesTable() {
		if model != "" && a.model != model || a.archived && c.param("include_archived") != "true" {
			continue
		}
		custom := strings.HasPrefix(a.full, "custom_attributes.")
		e.open()
		e.raw("type", `"data_attribute"`)
		if a.id != 0 {
			e.num("id", int64(a.id))
		}
		e.str("model", a.model)
		e.str("name", a.name)
		e.str("full_name", a.full)
		e.str("label", a.label)
		e.str("description", "")
		e.str("data_type", a.typ)
		e.bool("api_writable", custom)
		e.bool("messenger_writable", !custom)
		e.bool("ui_writable", custom)
		e.bool("custom", custom)
		e.bool("archived", a.archived)
		e.close()
	}
	e.closeList()
	e.close()
}

func (c *call) conversationAttributes() {
	if !c.need(ScopeConversations) {
		return
	}
	if c.v.version < version216 {
		c.fail(400, "intercom_version_invalid", "Requested resource is not available in current API version.")
		return
	}
	c.out.b = append(c.out.b, `{"type":"list","data":[`+
		`{"type":"conversation_attribute","id":31,"name":"Topic","description":"","data_type":"list","required":false,"visible_to_team_ids":[],"archived":false,"created_at":1704067200,"updated_at":1704067200,"admin_id":"991267400","options":[{"id":"a1b2c3d4-0000-4000-8000-000000000001","label":"billing","archived":false}]},`+
		`{"type":"conversation_attribute","id":32,"name":"Order value","description":"","data_type":"decimal","required":false,"visible_to_team_ids":[],"archived":false,"created_at":1704067200,"updated_at":1704067200,"admin_id":"991267400"}]}`...)
}

func (e *encoder) ticketType(w *Workspace, i int) {
	t, at := ticketTypes[i], w.opts.Start.Unix()
	num, _ := strconv.ParseInt(t.id, 10, 64)
	e.open()
	e.raw("type", `"ticket_type"`)
	e.str("id", t.id)
	e.str("category", t.category)
	e.str("name", t.name)
	e.str("description", t.description)
	e.str("icon", t.icon)
	e.str("workspace_id", w.opts.AppID)
	e.raw("is_internal", "false")
	e.object("ticket_type_attributes")
	e.raw("type", `"list"`)
	e.list("data")
	defs := append([]ticketAttributeDef{{strconv.Itoa(2100 + i*2), "_default_title_", "string"}, {strconv.Itoa(2101 + i*2), "_default_description_", "string"}}, t.attributes...)
	for k, a := range defs {
		e.open()
		e.raw("type", `"ticket_type_attribute"`)
		e.str("id", a.id)
		e.str("workspace_id", w.opts.AppID)
		e.str("name", a.name)
		e.str("description", "")
		e.str("data_type", a.dataType)
		e.object("input_options")
		e.bool("multiline", k == 1)
		e.close()
		e.num("order", int64(k))
		e.raw("required_to_create", "false")
		e.raw("required_to_create_for_contacts", "false")
		e.raw("visible_on_create", "true")
		e.raw("visible_to_contacts", "true")
		e.bool("default", k < 2)
		e.num("ticket_type_id", num)
		e.raw("archived", "false")
		e.num("created_at", at)
		e.num("updated_at", at)
		e.close()
	}
	e.closeList()
	e.close()
	e.raw("archived", "false")
	e.num("created_at", at)
	e.num("updated_at", at)
	e.close()
}

func (c *call) listTicketTypes() {
	if !c.need(ScopeTickets) {
		return
	}
	e := &c.out
	e.open()
	e.raw("type", `"list"`)
	e.list("data")
	for i := range ticketTypes {
		e.ticketType(c.w, i)
	}
	e.closeList()
	e.close()
}

func (c *call) listTicketStates() {
	if !c.need(ScopeTickets) {
		return
	}
	if c.v.version < version212 {
		c.fail(400, "intercom_version_invalid", "Requested resource is not available in current API version.")
		return
	}
	e := &c.out
	e.open()
	e.raw("type", `"list"`)
	e.list("data")
	for _, s := range ticketStates {
		e.open()
		e.raw("type", `"ticket_state"`)
		e.str("id", s.id)
		e.str("category", s.category)
		e.str("internal_label", s.internal)
		e.str("external_label", s.external)
		e.raw("archived", "false")
		e.object("ticket_types")
		e.raw("type", `"list"`)
		e.raw("data", "[]")
		e.close()
		e.close()
	}
	e.closeList()
	e.close()
}

func (c *call) subscriptionTypes() {
	if !c.need(ScopeContacts) {
		return
	}
	c.out.b = append(c.out.b, `{"type":"list","data":[{"type":"subscription","id":"135","state":"live","consent_type":"opt_out",`+
		`"default_translation":{"name":"Newsletter","description":"What is new","locale":"en"},`+
		`"translations":[{"name":"Newsletter","description":"What is new","locale":"en"}],"content_types":["email"]}]}`...)
}
