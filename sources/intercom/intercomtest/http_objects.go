package intercomtest

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
)

func (c *call) oneConversation(id string) {
	if !c.need(ScopeConversations) {
		return
	}
	i, ok := c.w.find(Conversations, id)
	if !ok || !c.w.alive(Conversations, i) || !c.v.tickets && c.w.head(i).ticket >= 0 {
		c.notFound("Resource Not Found")
		return
	}
	c.out.conversation(c.w.conversation(i), &c.v, true)
}

func (c *call) oneTicket(id string) {
	if !c.need(ScopeTickets) {
		return
	}
	i, ok := c.w.find(Tickets, id)
	if !ok || !c.w.alive(Tickets, i) {
		c.fail(404, "ticket_not_found", "Ticket not found")
		return
	}
	c.out.ticket(c.w.ticket(i), &c.v)
}

// contactIndex finds a living contact or answers why there is none: 404, or from
// 2.16 on 410 with a link if it was merged.
func (c *call) contactIndex(id string) (int, bool) {
	i, ok := c.w.find(Contacts, id)
	if ok && c.w.alive(Contacts, i) {
		return i, true
	}
	into := ""
	switch {
	case ok:
		if d := c.w.delta(Contacts, i); d.into != 0 {
			if s := c.w.survivor(i); c.w.alive(Contacts, s) {
				into = c.w.idOf(Contacts, s)
			}
		}
	default:
		into = c.w.mergedBefore(id)
	}
	if into != "" && c.v.version >= version216 {
		c.fail(410, "contact_merged", "This contact has been merged. See the 'Link' header for the canonical contact.")
		c.set("Link", "</contacts/"+into+`>; rel="canonical"`)
		return 0, false
	}
	c.notFound("User Not Found")
	return 0, false
}

// mergedBefore gives the surviving contact of one that was merged away before the
// workspace was opened.
func (w *Workspace) mergedBefore(id string) string {
	g, ok := w.ids().parseHexID(idContact, id)
	i := g - mergedBase
	if !ok || i < 0 || i >= w.shelf(Contacts).base || !hasSwallowed(i) || w.base().mergedID(i) != id {
		return ""
	}
	if _, synthetic := w.gen.(*dialogued); synthetic {
		return ""
	}
	if s := w.survivor(i); w.alive(Contacts, s) {
		return w.idOf(Contacts, s)
	}
	return ""
}

func (c *call) oneContact(id string) {
	if !c.need(ScopeContacts) {
		return
	}
	if i, ok := c.contactIndex(id); ok {
		c.out.contact(c.w.contact(i), &c.v)
	}
}

func (c *call) contactByExternalID(id string) {
	if !c.need(ScopeContacts) {
		return
	}
	if name, err := url.PathUnescape(id); err == nil {
		id = name
	}
	if i, ok := c.w.findExternal(id); ok {
		c.out.contact(c.w.contact(i), &c.v)
		return
	}
	c.notFound("User Not Found")
}

func (w *Workspace) findExternal(id string) (int, bool) {
	if i, ok := w.gen.contactByExternalID(id); ok && w.alive(Contacts, i) && w.contact(i).externalID == id {
		return i, true
	}
	for _, p := range w.touched(w.shelf(Contacts)) {
		if i := int(uint32(p)); w.alive(Contacts, i) && w.contact(i).externalID == id {
			return i, true
		}
	}
	return 0, false
}

func (c *call) contactPart(id, part string) {
	if !c.need(ScopeContacts) {
		return
	}
	i, ok := c.contactIndex(id)
	if !ok {
		return
	}
	p, e := c.w.contact(i), &c.out
	switch part {
	case "companies":
		if !c.need(ScopeCompanies) {
			return
		}
		var alive []int
		for _, k := range p.companies {
			if c.w.alive(Companies, k) {
				alive = append(alive, k)
			}
		}
		c.numbered(numberedList{path: "/contacts/" + id + "/companies", key: "companies", alias: "data", size: 50, limit: 60, n: len(alive), row: func(k int) {
			e.company(c.w.company(alive[k]), &c.v)
		}})
	case "tags":
		e.open()
		e.raw("type", `"list"`)
		e.list("data")
		for _, t := range p.tags {
			e.tagBasic(c.w, t)
		}
		e.closeList()
		e.close()
	case "segments":
		e.open()
		e.raw("type", `"list"`)
		e.list("data")
		for _, s := range p.segments {
			e.segment(c.w, s, false)
		}
		e.closeList()
		e.close()
	case "subscriptions":
		e.b = append(e.b, `{"type":"list","data":[]}`...)
	case "notes":
		c.numbered(numberedList{path: "/contacts/" + id + "/notes", key: "data", size: 50, limit: 60, n: p.notes, row: func(k int) {
			e.note(c.w, "contact", id, 26_000_000+i*64+k, p.created+int64(k))
		}})
	case "merge_history":
		c.mergeHistory(p)
	default:
		c.notFound("The requested resource was not found")
	}
}

func (e *encoder) note(w *Workspace, of, id string, number int, at int64) {
	e.open()
	e.raw("type", `"note"`)
	e.str("id", strconv.Itoa(number))
	e.num("created_at", at)
	e.object(of)
	e.str("type", of)
	e.str("id", id)
	e.close()
	e.key("author")
	e.admin(w.gen.admins()[number%len(w.gen.admins())])
	e.str("body", fmt.Sprintf("<p>Note %d: prefers to be called in the morning.</p>", number))
	e.close()
}

func (c *call) mergeHistory(p *contact) {
	if c.v.version < version216 {
		c.fail(400, "intercom_version_invalid", "Requested resource is not available in current API version.")
		return
	}
	if p.role != "user" {
		c.notFound("Contact not found")
		return
	}
	n, ok := c.perPage(c.param("per_page"), 50, 150)
	if !ok {
		return
	}
	from := 0
	if cur := c.param("cursor"); cur != "" {
		v, err := strconv.Atoi(cur)
		if err != nil || v < 0 || v > len(p.mergedFrom) {
			c.fail(400, "client_error", "The cursor is not valid")
			return
		}
		from = v
	}
	list := slices.Clone(p.mergedFrom)
	slices.SortStableFunc(list, func(a, b mergeEntry) int { return int(a.at - b.at) })
	if c.param("order") != "asc" {
		slices.Reverse(list)
	}
	to := min(from+n, len(list))
	e := &c.out
	e.open()
	e.raw("type", `"list"`)
	e.list("data")
	for _, m := range list[from:to] {
		e.mergeEntry(m)
	}
	e.closeList()
	if to < len(list) {
		e.str("next_cursor", strconv.Itoa(to))
	} else {
		e.null("next_cursor")
	}
	e.bool("has_more", to < len(list))
	e.close()
}

// numberedList is a list that is paged by numbers.
type numberedList struct {
	path, typ, key, alias string // alias: a second name of the rows, as schema and examples disagree
	size, limit, n        int
	row                   func(i int)
	cut                   int  // rows beyond are refused; 0 is no cut
	links                 bool // the links carry order
}

func (c *call) numbered(l numberedList) {
	size, ok := c.perPage(c.param("per_page"), l.size, l.limit)
	if !ok {
		return
	}
	page := 1
	if p := c.param("page"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 {
			c.fail(400, "parameter_invalid", "page must be a number from 1 on")
			return
		}
		page = n
	}
	if l.cut > 0 && page*size > l.cut {
		c.fail(400, "bad_request", fmt.Sprintf("page is beyond the limit of %d, please use the scroll API", l.cut))
		return
	}
	from := min((page-1)*size, l.n)
	to := min(from+size, l.n)
	e := &c.out
	typ := l.typ
	if typ == "" {
		typ = "list"
	}
	e.open()
	e.str("type", typ)
	e.list(l.key)
	for i := from; i < to; i++ {
		l.row(i)
	}
	e.closeList()
	e.num("total_count", int64(l.n))
	e.object("pages")
	e.raw("type", `"pages"`)
	if to < l.n {
		e.str("next", fmt.Sprintf("%s%s?per_page=%d&page=%d", c.w.opts.BaseURL, l.path, size, page+1))
	} else {
		e.null("next")
	}
	e.num("page", int64(page))
	e.num("per_page", int64(size))
	e.num("total_pages", int64((l.n+size-1)/size))
	e.close()
	e.close()
}

func (c *call) deletedConversations() {
	if !c.need(ScopeConversations) {
		return
	}
	if c.v.version < version216 {
		c.fail(400, "intercom_version_invalid", "Requested resource is not available in current API version.")
		return
	}
	list := c.w.deletedConversations()
	slices.SortStableFunc(list, func(a, b goneConversation) int { return int(b.at - a.at) })
	if c.param("order") == "asc" {
		slices.Reverse(list)
	}
	e := &c.out
	c.numbered(numberedList{path: "/conversations/deleted", typ: "conversations.list", key: "conversations", size: 20, limit: 60, n: len(list), row: func(i int) {
		e.open()
		e.raw("type", `"conversation"`)
		e.str("id", list[i].id)
		e.bool("metrics_retained", list[i].retained)
		e.num("deleted_at", list[i].at)
		e.close()
	}})
}

// deletedConversations lists those deleted before and after the workspace was
// opened.
func (w *Workspace) deletedConversations() []goneConversation {
	w.mu.RLock()
	defer w.mu.RUnlock()
	list := slices.Clone(w.gone)
	s := w.shelf(Conversations)
	for _, i := range sortedIndexes(s.deltas) {
		if d := s.deltas[i]; d.deleted != 0 {
			list = append(list, goneConversation{id: conversationID(i), at: d.deleted, retained: true})
		}
	}
	return list
}

func sortedIndexes(m map[int]*delta) []int {
	out := make([]int, 0, len(m))
	for i := range m {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}
