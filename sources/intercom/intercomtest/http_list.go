package intercomtest

import (
	"encoding/json"
	"math"
	"strings"
)

// listing is one page of an ordered walk.
type listing struct {
	kind    Kind
	order   Order
	perPage int
	after   string // starting_after, "" for the first page
	query   *filter
	key     string // identifies the query among all
	hidden  func(*row) bool
}

// rows finds the page and says how many rows there are in all.
func (c *call) rows(l *listing) (page []int, next string, total, number int, ok bool) {
	w := c.w
	cur := cursor{page: 1, start: true}
	var after *uint64
	if l.after != "" {
		got, good := w.decodeCursor(l.kind, l.after)
		if !good || c.hit(FaultStaleCursor) != nil {
			c.fail(400, "client_error", "The cursor given in starting_after is not valid or has expired")
			return nil, "", 0, 0, false
		}
		if cur = got; !cur.start {
			after = &cur.place
		}
	}
	lo, hi, exact := int64(math.MinInt64), int64(math.MaxInt64), true
	if l.query != nil {
		lo, hi, exact = l.query.bounds(l.order.Field)
	}
	match := func(i int) bool {
		if exact && l.hidden == nil {
			return true
		}
		r := row{w: w, kind: l.kind, i: i}
		return (exact || l.query.match(&r)) && (l.hidden == nil || !l.hidden(&r))
	}
	more := false
	var last uint64
	w.walk(l.kind, l.order, lo, hi, after, func(p uint64) bool {
		i := int(uint32(p))
		if !match(i) {
			return true
		}
		if len(page) == l.perPage {
			more = true
			return false
		}
		page, last = append(page, i), p
		return true
	})
	total = w.cached(string(l.kind)+"\x00"+l.key, func() int {
		n := 0
		w.walk(l.kind, l.order, lo, hi, nil, func(p uint64) bool {
			if match(int(uint32(p))) {
				n++
			}
			return true
		})
		return n
	})
	if more {
		next = w.encodeCursor(l.kind, cursor{place: last, page: cur.page + 1})
	}
	return c.spoil(l, cur, page, next, total)
}

// spoil applies the faults that concern a page's rows and cursor.
func (c *call) spoil(l *listing, cur cursor, page []int, next string, total int) ([]int, string, int, int, bool) {
	if c.hit(FaultRepeatedCursor) != nil && next != "" && l.after != "" {
		next = l.after
	}
	if c.hit(FaultEmptyPage) != nil && len(page) > 0 {
		page = nil
		next = c.w.encodeCursor(l.kind, cursor{place: cur.place, start: cur.start, page: cur.page + 1})
	}
	if c.hit(FaultDuplicates) != nil && len(page) > 0 {
		page = append(page, page[0])
		if !cur.start && c.w.alive(l.kind, int(uint32(cur.place))) {
			page = append([]int{int(uint32(cur.place))}, page...)
		}
	}
	return page, next, total, cur.page, true
}

// pages writes the paging object of a list with cursors.
func (e *encoder) pages(number, perPage, total int, next string) {
	e.object("pages")
	e.raw("type", `"pages"`)
	e.num("page", int64(number))
	e.num("per_page", int64(perPage))
	e.num("total_pages", int64((total+perPage-1)/perPage))
	if next != "" {
		e.object("next")
		e.num("per_page", int64(perPage))
		e.str("starting_after", next)
		e.close()
	}
	e.close()
	e.num("total_count", int64(total))
}

// shake applies the faults that move or delete rows while they are paged.
func (c *call) shake(k Kind) {
	if c.hit(FaultMovingRows) != nil {
		c.w.TouchRandom(k, 3)
	}
	if c.hit(FaultDeletingRows) != nil {
		c.w.DeleteRandom(k, 1)
	}
}

// list serves the lists and searches with cursors.
func (c *call) list(k Kind, typ, key string, defaultSize int, l listing) {
	c.shake(k)
	l.kind = k
	if l.order.Field == "" {
		l.order = c.w.opts.ListOrder[k]
	}
	if k == Conversations && !c.v.tickets {
		l.hidden = func(r *row) bool { return r.h().ticket >= 0 }
		l.key += "\x00no tickets"
	}
	page, next, total, number, ok := c.rows(&l)
	if !ok {
		return
	}
	e := &c.out
	e.open()
	e.str("type", typ)
	e.list(key)
	for _, i := range page {
		switch k {
		case Conversations:
			e.conversation(c.w.conversation(i), &c.v, false)
		case Contacts:
			e.contact(c.w.contact(i), &c.v)
		case Tickets:
			e.ticket(c.w.ticket(i), &c.v)
		}
	}
	e.closeList()
	e.pages(number, l.perPage, total, next)
	e.close()
}

func (c *call) listConversations() {
	if n, ok := c.perPage(c.param("per_page"), 20, 150); c.need(ScopeConversations) && ok {
		c.list(Conversations, "conversation.list", "conversations", 20, listing{perPage: n, after: c.param("starting_after")})
	}
}

func (c *call) listContacts() {
	if n, ok := c.perPage(c.param("per_page"), 10, 150); c.need(ScopeContacts) && ok {
		c.list(Contacts, "list", "data", 10, listing{perPage: n, after: c.param("starting_after")})
	}
}

func (c *call) searchConversations() {
	if c.need(ScopeConversations) {
		c.search(Conversations, "conversation.list", "conversations", 20, conversationField)
	}
}

func (c *call) searchTickets() {
	if c.need(ScopeTickets) {
		c.search(Tickets, "ticket.list", "tickets", 20, ticketField)
	}
}

func (c *call) searchContacts() {
	if c.need(ScopeContacts) {
		c.search(Contacts, "list", "data", 50, contactField)
	}
}

func (c *call) search(k Kind, typ, key string, defaultSize int, fields func(string) (fieldDef, bool)) {
	var req searchRequest
	if err := json.Unmarshal(c.body, &req); err != nil {
		c.fail(400, "bad_request", "The body is not valid JSON for a search")
		return
	}
	d := dialect{kind: k, fields: fields}
	if k == Contacts {
		if c.v.version < version217 {
			d.days = c.w.loc
		}
	} else {
		d.inclusive = c.w.opts.InclusiveBounds
	}
	q, bad := d.parse(req.Query, 0)
	if bad != nil {
		c.fail(400, bad.code, bad.message)
		return
	}
	n, ok := c.perPage(strings.Trim(string(req.Pagination.PerPage), `"`), defaultSize, 150)
	if !ok {
		return
	}
	l := listing{perPage: n, query: &q, key: string(req.Query)}
	if d.days != nil {
		l.key += "\x00days"
	}
	if a := req.Pagination.StartingAfter; a != nil {
		l.after = *a
	}
	if req.Sort != nil && !c.sort(k, req.Sort.Field, req.Sort.Order, &l.order) {
		return
	}
	if k == Contacts && (c.w.opts.SearchDelay > 0 || c.w.opts.MidnightBlind > 0) {
		l.hidden = c.hiddenFromSearch
		l.key = "" // depends on the clock
	}
	c.list(k, typ, key, defaultSize, l)
}

func (c *call) sort(k Kind, field, order string, o *Order) bool {
	*o = c.w.opts.ListOrder[k]
	if field != "" {
		if field != "created_at" && field != "updated_at" {
			c.fail(400, "parameter_invalid", "Cannot sort by '"+field+"'")
			return false
		}
		o.Field = field
		o.Descending = true
	}
	switch {
	case order == "ascending" || order == "asc" && k != Contacts:
		o.Descending = false
	case order == "descending" || order == "desc" && k != Contacts:
		o.Descending = true
	case order == "":
	default:
		c.fail(400, "invalid_sort_order", "Invalid sort order '"+order+"'. Must be one of: ascending, descending")
		return false
	}
	return true
}

// hiddenFromSearch: contacts become searchable some minutes after they were
// made, and some that change around midnight not until they change again.
func (c *call) hiddenFromSearch(r *row) bool {
	o := c.w.opts
	if o.SearchDelay > 0 && c.v.now-r.w.created(Contacts, r.i) < int64(o.SearchDelay.Seconds()) {
		return true
	}
	if o.MidnightBlind > 0 {
		const day = 86400
		s := r.w.updated(Contacts, r.i) % day
		return min(s, day-s) < int64(o.MidnightBlind.Seconds())
	}
	return false
}
