package extract

import (
	"encoding/json"
	"strings"

	"haloingest/pipeline/record"
)

func (d *decoder) company(v value, id string) *record.Company {
	c := &record.Company{ID: id}
	for it := v.each(); it.next(); {
		m := it.value
		switch string(m.key()) {
		case "type", "id", "app_id", "notes":
		case "company_id":
			c.CompanyID = d.string(m, "company_id")
		case "name":
			c.Name = d.string(m, "name")
		case "plan": // {} when none
			if m.kind() == list && m.empty() {
				continue
			}
			if m.kind() == object {
				m = m.get("name")
			}
			c.Plan = d.string(m, "plan")
		case "size":
			c.Size = d.count(m, "size")
		case "website":
			c.Website = d.string(m, "website")
		case "industry":
			c.Industry = d.string(m, "industry")
		case "monthly_spend":
			c.MonthlySpend = d.spend(m)
		case "session_count":
			c.SessionCount = d.count(m, "session_count")
		case "user_count":
			c.UserCount = d.count(m, "user_count")
		case "tags":
			c.Tags = d.named(m, "tags", d.ref.Tags)
		case "segments":
			c.Segments = d.named(m, "segments", d.ref.Segments)
		case "custom_attributes":
			c.Custom = d.attributes(m, "custom_attributes", false)
		case "created_at":
			c.CreatedAt = d.time(m, "created_at")
		case "updated_at":
			c.UpdatedAt = d.time(m, "updated_at")
		case "remote_created_at":
			c.SignedUpAt = d.time(m, "remote_created_at")
		case "last_request_at":
			c.LastRequestAt = d.time(m, "last_request_at")
		default:
			d.unmapped(m)
		}
	}
	return c
}

// spend reads monthly_spend: an integer in the specification, but decimals and texts occur.
func (d *decoder) spend(v value) json.RawMessage {
	switch v.kind() {
	case absent, null:
		return nil
	case number, text:
		raw := string(v.raw())
		if v.kind() == text {
			raw = strings.TrimSpace(v.text())
			var t tree
			if n, err := t.parse([]byte(raw)); err != nil || n.kind() != number {
				raw = ""
			}
		}
		if raw != "" {
			if n, err := record.AppendNumber(nil, raw); err == nil {
				return n
			}
		}
		if v.empty() {
			return nil
		}
	}
	if v.kind() >= list {
		d.want(v, "monthly_spend", "a number")
		return nil
	}
	d.odd("monthly_spend", "(no amount)")
	return nil
}
