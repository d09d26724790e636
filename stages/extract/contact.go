package extract

import (
	"haloingest/pipeline/record"
)

// contact reads a contact, or a user or lead of API 1.x.
func (d *decoder) contact(v value, id string) *record.Contact {
	c := &record.Contact{ID: id}
	kind := ""
	for it := v.each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "type":
			kind = d.string(m, "type")
		case "id", "email_domain", "app_id", "notes", "enabled_push_messaging":
		case "external_id":
			if s := d.string(m, "external_id"); s != "" {
				c.ExternalID = s
			}
		case "user_id": // API 1.x
			if s := d.string(m, "user_id"); s != "" && c.ExternalID == "" {
				c.ExternalID = s
			}
		case "workspace_id":
			c.WorkspaceID = d.string(m, "workspace_id")
		case "role":
			c.Role = d.string(m, "role")
		case "email":
			c.Email = d.string(m, "email")
		case "name":
			c.Name = d.string(m, "name")
		case "phone":
			c.Phone = d.string(m, "phone")
		case "avatar":
			if m.kind() == list && m.empty() {
				continue
			}
			if m.kind() == object {
				m = m.get("image_url")
			}
			c.Avatar = stableURLs(d.string(m, "avatar"))
		case "owner_id":
			c.OwnerID = d.assignee(m, "owner_id")
		case "language_override":
			c.Language = d.string(m, "language_override")
		case "location", "location_data": // the second is API 1.x
			d.location(c, m)
		case "unsubscribed_from_emails":
			c.Unsubscribed = d.bool(m, "unsubscribed_from_emails")
		case "has_hard_bounced":
			c.Bounced = d.bool(m, "has_hard_bounced")
		case "marked_email_as_spam":
			c.Spam = d.bool(m, "marked_email_as_spam")
		case "companies":
			c.Companies = d.companyRefs(m)
			c.CompanyTotal = len(c.Companies)
			if m.kind() == object {
				c.CompanyTotal = max(c.CompanyTotal, d.count(m.get("total_count"), "companies.total_count"))
			}
		case "tags":
			c.Tags = d.named(m, "tags", d.ref.Tags)
		case "custom_attributes":
			c.Custom = d.attributes(m, "custom_attributes", false)
		case "created_at":
			c.CreatedAt = d.time(m, "created_at")
		case "updated_at":
			c.UpdatedAt = d.time(m, "updated_at")
		case "signed_up_at":
			c.SignedUpAt = d.time(m, "signed_up_at")
		case "last_seen_at":
			if t := d.time(m, "last_seen_at"); !t.IsZero() {
				c.LastSeenAt = t
			}
		case "last_request_at": // API 1.x
			if t := d.time(m, "last_request_at"); c.LastSeenAt.IsZero() {
				c.LastSeenAt = t
			}
		case "last_replied_at":
			c.LastRepliedAt = d.time(m, "last_replied_at")
		case "last_contacted_at":
			c.LastContactedAt = d.time(m, "last_contacted_at")
		case "social_profiles", "opted_in_subscription_types", "opted_out_subscription_types", "merge_history":
			if m.kind() != object || !m.get("data").empty() {
				d.unmapped(m)
			}
		default:
			d.unmapped(m)
		}
	}
	if c.Role == "" {
		switch { // in API 1.x the type said it, and a "contact" was a lead
		case kind == "user", kind == "contact" && c.ExternalID != "":
			c.Role = "user"
		default:
			c.Role = "lead"
		}
	}
	d.known("role", c.Role, "user", "lead")
	return c
}

func (d *decoder) location(c *record.Contact, v value) {
	for it := d.inner(v, "location").each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "country", "country_name":
			c.Country = d.string(m, "location.country")
		case "region", "region_name":
			c.Region = d.string(m, "location.region")
		case "city", "city_name":
			c.City = d.string(m, "location.city")
		}
	}
}

// companyRefs reads the companies of a contact: bare references since API 2.12, whole companies before.
func (d *decoder) companyRefs(v value) (refs []record.Ref) {
	for it := d.list(v, "companies", "companies").each(); it.next(); {
		m := it.value
		if m.kind() != object {
			m = value{}
		}
		r := record.Ref{ID: d.id(m.get("id"), "companies.id"), ExternalID: d.id(m.get("company_id"), "companies.company_id")}
		if r.ID == "" {
			d.odd("companies", "(reference without id)")
			continue
		}
		refs = append(refs, r)
	}
	return refs
}

// contactRefs reads the contacts of a conversation or ticket.
func (d *decoder) contactRefs(v value, field string) (refs []record.Ref) {
	for it := d.list(v, field, "contacts", "users").each(); it.next(); {
		m := it.value
		var r record.Ref
		if m.kind() == object {
			r = record.Ref{ID: d.id(m.get("id"), field+".id"), ExternalID: d.id(m.get("external_id"), field+".external_id")}
		} else {
			r.ID = d.id(m, field)
		}
		if r.ID == "" {
			d.odd(field, "(reference without id)")
			continue
		}
		refs = append(refs, r)
	}
	return refs
}

// named reads a list of tags or segments and fills in names from the reference data.
func (d *decoder) named(v value, field string, names map[string]string) (list []record.Named) {
	for it := d.list(v, field, field).each(); it.next(); {
		m := it.value
		var n record.Named
		switch m.kind() {
		case object:
			n = record.Named{ID: d.id(m.get("id"), field+".id"), Name: d.string(m.get("name"), field+".name")}
		case text:
			n.Name = m.text()
		}
		if n.Name == "" {
			n.Name = names[n.ID]
		}
		if n.ID == "" && n.Name == "" {
			d.odd(field, "(nameless)")
			continue
		}
		list = append(list, n)
	}
	return list
}
