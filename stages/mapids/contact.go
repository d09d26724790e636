package mapids

import (
	"encoding/json"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"haloingest/pipeline/record"
)

func (m *mapper) endUser(c *record.Change, in *record.Contact) {
	var cut cutMarks
	r := &record.EndUserRow{
		Head:      m.head(c, in.ID, in.CreatedAt, in.UpdatedAt),
		Name:      cut.text(strings.TrimSpace(in.Name), nameChars, "name"),
		Email:     cut.whole(strings.TrimSpace(in.Email), claimBytes, "email"),
		Avatar:    cut.whole(in.Avatar, avatarChars, "avatar"),
		Role:      cut.text(in.Role, nameChars, "role"),
		FirstSeen: in.CreatedAt, LastSeen: in.LastSeenAt, LastContactedAt: in.LastContactedAt,
		SignedUpAt: in.SignedUpAt,
	}
	if r.SignedUpAt.IsZero() {
		r.SignedUpAt = in.CreatedAt
	}
	r.EmailKey = record.EmailClaim(r.Email)
	r.ExternalID = cut.whole(m.stage.user.of(func(name string) string {
		switch name {
		case "id":
			return in.ID
		case "email":
			return record.EmailKey(in.Email)
		}
		return in.ExternalID
	}, in.Custom), claimBytes, "external_id")
	for _, ref := range in.Companies {
		r.Companies = append(r.Companies, ref.ID)
	}
	slices.Sort(r.Companies)
	r.Companies = slices.Compact(r.Companies)
	if in.CompanyTotal > len(in.Companies) {
		cut.add("companies")
	}

	context := map[string]json.RawMessage{
		"intercom_unsubscribed": entry("Unsubscribed from e-mails", "status", boolJSON(in.Unsubscribed)),
	}
	put := func(key, label, kind, value string) {
		if value != "" {
			context["intercom_"+key] = entry(label, kind, textJSON(value))
		}
	}
	put("phone", "Phone", "custom", in.Phone)
	put("language", "Language", "config", in.Language)
	put("location", "Location", "custom", location(in))
	put("owner", "Owner", "relationship", m.adminName(in.OwnerID))
	if !in.LastRepliedAt.IsZero() {
		context["intercom_last_replied_at"] = entry("Last replied", "metric", record.AppendTime(nil, in.LastRepliedAt))
	}
	if in.Bounced {
		context["intercom_email_bounced"] = entry("E-mail bounces", "status", boolJSON(true))
	}
	if in.Spam {
		context["intercom_marked_as_spam"] = entry("Marked e-mail as spam", "status", boolJSON(true))
	}
	if len(in.Tags) > 0 {
		context["intercom_tags"] = entry("Tags", "list", nameList(in.Tags))
	}
	if len(r.Companies) > 1 {
		context["intercom_companies"] = entry("Companies", "relationship", textList(r.Companies))
	}
	if in.ExternalID != "" && r.ExternalID != in.ExternalID {
		put("external_id", "External id", "custom", in.ExternalID)
	}
	custom := maps.Clone(in.Custom)
	columns := len(r.Name) + len(r.Email) + len(r.Avatar) + len(r.Role)
	r.CustomFields, r.Context = cut.traits(custom, context, columns, userTraitsBytes)
	m.note(c, cut)
	r.Seal(&m.enc)
	c.EndUser = r
}

func (m *mapper) companyRow(c *record.Change, in *record.Company) {
	var cut cutMarks
	r := &record.CompanyRow{
		Head:          m.head(c, in.ID, in.CreatedAt, in.UpdatedAt),
		Name:          cut.text(strings.TrimSpace(in.Name), nameChars, "name"),
		Domain:        domain(in.Website),
		Industry:      cut.text(in.Industry, nameChars, "industry"),
		Plan:          cut.text(in.Plan, nameChars, "plan"),
		EmployeeCount: in.Size,
		SignedUpAt:    in.SignedUpAt,
		LastRequestAt: in.LastRequestAt,
	}
	if r.SignedUpAt.IsZero() {
		r.SignedUpAt = in.CreatedAt
	}
	r.ExternalID = cut.whole(m.stage.company.of(func(name string) string {
		switch name {
		case "id":
			return in.ID
		case "name":
			return in.Name
		}
		return in.CompanyID
	}, in.Custom), claimBytes, "external_id")

	context := make(map[string]json.RawMessage)
	if in.Website != "" {
		context["intercom_website"] = entry("Website", "custom", textJSON(in.Website))
	}
	context["intercom_session_count"] = entry("Sessions", "metric", intJSON(in.SessionCount))
	context["intercom_user_count"] = entry("Users", "metric", intJSON(in.UserCount))
	if len(in.Tags) > 0 {
		context["intercom_tags"] = entry("Tags", "list", nameList(in.Tags))
	}
	if len(in.Segments) > 0 {
		context["intercom_segments"] = entry("Segments", "list", nameList(in.Segments))
	}
	if in.CompanyID != "" && r.ExternalID != in.CompanyID {
		context["intercom_company_id"] = entry("Company id", "custom", textJSON(in.CompanyID))
	}
	custom := maps.Clone(in.Custom)
	if _, taken := custom["monthly_spend"]; !taken && len(in.MonthlySpend) > 0 {
		if custom == nil {
			custom = make(map[string]json.RawMessage, 1)
		}
		custom["monthly_spend"] = in.MonthlySpend
	}
	columns := len(r.Name) + len(r.Domain) + len(r.Industry) + len(r.Plan)
	r.CustomFields, r.Context = cut.traits(custom, context, columns, companyBytes)
	m.note(c, cut)
	r.Seal(&m.enc)
	c.Company = r
}

// note counts that something of the object was cut.
func (m *mapper) note(c *record.Change, cut cutMarks) {
	if len(cut) > 0 {
		m.counts.Add("truncated/"+string(c.Kind), 1)
	}
}

// adminName is an admin's name where the reference data has it, else the id.
func (m *mapper) adminName(id string) string {
	if a := m.stage.ref.Admins[id]; a.Name != "" {
		return a.Name
	}
	return id
}

func (m *mapper) teamName(id string) string {
	if name := m.stage.ref.Teams[id]; name != "" {
		return name
	}
	return id
}

// location is "City, Region, Country" of what there is, each once.
func location(c *record.Contact) string {
	var parts []string
	for _, p := range [...]string{c.City, c.Region, c.Country} {
		if p = strings.TrimSpace(p); p != "" && !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// nameList is the sorted names of tags or segments, the id of one that has no name. Intercom promises
// no order.
func nameList(list []record.Named) json.RawMessage {
	names := make([]string, 0, len(list))
	for _, n := range list {
		if n.Name == "" {
			n.Name = n.ID
		}
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return textList(slices.Compact(names))
}

// hostNames are names that a DNS would take.
var hostNames = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// domain is the host of a website without www., in lower case and ASCII (IDNA); "" if the text is no
// address of a host in the public name space.
func domain(website string) string {
	s := strings.TrimSpace(website)
	if s == "" || len(s) > 2_000 {
		return ""
	}
	if !strings.Contains(s, "://") {
		s = "http://" + strings.TrimPrefix(s, "//")
	}
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if host == "" {
		return ""
	}
	host, err = hostNames.ToASCII(host)
	if err != nil {
		return ""
	}
	host = strings.TrimPrefix(host, "www.")
	last := strings.LastIndexByte(host, '.')
	if last <= 0 || last == len(host)-1 {
		return ""
	}
	if _, err := netip.ParseAddr(host); err == nil || strings.Trim(host[last+1:], "0123456789") == "" {
		return ""
	}
	return host
}

func boolJSON(b bool) json.RawMessage { return strconv.AppendBool(nil, b) }

func intJSON(n int) json.RawMessage { return strconv.AppendInt(nil, int64(n), 10) }
