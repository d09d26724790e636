package intercomtest

import (
	"net/http"
	"strings"
)

type handler func(*call)

// route finds the endpoint. A known path with another method is 404, as the API
// has it, and a write is counted as a violation.
func (c *call) route() handler {
	p := strings.TrimPrefix(c.path, "/")
	seg := make([]string, 0, 4)
	for len(p) > 0 {
		s, rest, _ := strings.Cut(p, "/")
		seg = append(seg, s)
		p = rest
	}
	pattern, h := c.match(seg)
	c.endpoint = c.r.Method + " " + pattern
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead && !isReadingPost(c.r.Method, pattern) {
		c.w.stats.violation(c.r.Method + " " + c.path)
		return func(c *call) { c.fail(404, "not_found", "The requested resource was not found") }
	}
	if h == nil {
		return func(c *call) { c.notFound("The requested resource was not found") }
	}
	return h
}

func isReadingPost(method, pattern string) bool {
	if method != http.MethodPost {
		return false
	}
	switch pattern {
	case "/contacts/search", "/conversations/search", "/tickets/search", "/companies/list":
		return true
	}
	return false
}

func (c *call) match(seg []string) (string, handler) {
	n := len(seg)
	if n == 0 {
		return "/", nil
	}
	get := c.r.Method == http.MethodGet
	post := c.r.Method == http.MethodPost
	when := func(ok bool, h handler) handler {
		if ok {
			return h
		}
		return nil
	}
	switch seg[0] {
	case "conversations":
		switch {
		case n == 1:
			return "/conversations", when(get, (*call).listConversations)
		case n == 2 && seg[1] == "search":
			return "/conversations/search", when(post, (*call).searchConversations)
		case n == 2 && seg[1] == "deleted":
			return "/conversations/deleted", when(get, (*call).deletedConversations)
		case n == 2 && seg[1] == "attributes":
			return "/conversations/attributes", when(get, (*call).conversationAttributes)
		case n == 2:
			return "/conversations/{id}", when(get, func(c *call) { c.oneConversation(seg[1]) })
		}
	case "contacts":
		switch {
		case n == 1:
			return "/contacts", when(get, (*call).listContacts)
		case n == 2 && seg[1] == "search":
			return "/contacts/search", when(post, (*call).searchContacts)
		case n == 2:
			return "/contacts/{id}", when(get, func(c *call) { c.oneContact(seg[1]) })
		case n == 3 && seg[1] == "find_by_external_id":
			return "/contacts/find_by_external_id/{id}", when(get, func(c *call) { c.contactByExternalID(seg[2]) })
		case n == 3:
			return "/contacts/{id}/" + known(seg[2], "companies", "tags", "segments", "notes", "subscriptions", "merge_history"),
				when(get, func(c *call) { c.contactPart(seg[1], seg[2]) })
		}
	case "companies":
		switch {
		case n == 1:
			return "/companies", when(get, (*call).filterCompanies)
		case n == 2 && seg[1] == "scroll":
			return "/companies/scroll", when(get, (*call).scrollCompanies)
		case n == 2 && seg[1] == "list":
			return "/companies/list", when(post, (*call).listCompanies)
		case n == 2:
			return "/companies/{id}", when(get, func(c *call) { c.oneCompany(seg[1]) })
		case n == 3:
			return "/companies/{id}/" + known(seg[2], "contacts", "segments", "notes"), when(get, func(c *call) { c.companyPart(seg[1], seg[2]) })
		}
	case "tickets":
		switch {
		case n == 1:
			return "/tickets", nil
		case n == 2 && seg[1] == "search":
			return "/tickets/search", when(post, (*call).searchTickets)
		case n == 2:
			return "/tickets/{id}", when(get, func(c *call) { c.oneTicket(seg[1]) })
		}
	default:
		if n == 1 {
			if h := reference1(seg[0]); h != nil {
				return "/" + seg[0], when(get, h)
			}
		}
	}
	return "/other", nil
}

func known(s string, names ...string) string {
	for _, n := range names {
		if s == n {
			return s
		}
	}
	return "{other}"
}

func reference1(name string) handler {
	switch name {
	case "me":
		return (*call).me
	case "admins":
		return (*call).listAdmins
	case "teams":
		return (*call).listTeams
	case "tags":
		return (*call).listTags
	case "segments":
		return (*call).listSegments
	case "data_attributes":
		return (*call).dataAttributes
	case "ticket_types":
		return (*call).listTicketTypes
	case "ticket_states":
		return (*call).listTicketStates
	case "subscription_types":
		return (*call).subscriptionTypes
	}
	return nil
}
