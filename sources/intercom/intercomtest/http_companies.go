package intercomtest

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// companyListLimit is how many companies the page-numbered list gives.
const companyListLimit = 10_000

// memberIndex counts the contacts of each company. It is made on first use, and
// again after a change of contacts.
type memberIndex struct {
	once    sync.Once
	base    []int32
	mu      sync.Mutex
	version uint64
	extra   map[int]int32
}

// memberCount is a company's user_count.
func (w *Workspace) memberCount(i int) int {
	m := &w.members
	m.once.Do(func() {
		m.base = make([]int32, w.gen.size(Companies))
		var buf [16]int
		for c := range w.gen.size(Contacts) {
			for _, k := range w.gen.contactCompanies(c, buf[:0]) {
				m.base[k]++
			}
		}
	})
	n := 0
	if i < len(m.base) {
		n = int(m.base[i])
	}
	w.mu.RLock()
	version := w.version + 1
	changed := len(w.shelf(Contacts).deltas) > 0
	w.mu.RUnlock()
	if !changed {
		return n
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version != version {
		m.extra, m.version = map[int]int32{}, version
		w.mu.RLock()
		indexes := sortedIndexes(w.shelf(Contacts).deltas)
		w.mu.RUnlock()
		var buf [16]int
		for _, c := range indexes {
			if c < w.shelf(Contacts).base {
				for _, k := range w.gen.contactCompanies(c, buf[:0]) {
					m.extra[k]--
				}
			}
			if w.alive(Contacts, c) {
				for _, k := range w.contact(c).companies {
					m.extra[k]++
				}
			}
		}
	}
	return n + int(m.extra[i])
}

// membersOf lists the contacts of a company; it looks at every contact.
func (w *Workspace) membersOf(company int) []int {
	var out []int
	for i := range w.count(Contacts) {
		if w.alive(Contacts, i) && slices.Contains(w.contact(i).companies, company) {
			out = append(out, i)
		}
	}
	return out
}

func (c *call) companyIndex(id string) (int, bool) {
	i, ok := c.w.find(Companies, id)
	if !ok || !c.w.alive(Companies, i) {
		c.fail(404, "company_not_found", "Company Not Found")
		return 0, false
	}
	return i, true
}

func (c *call) oneCompany(id string) {
	if !c.need(ScopeCompanies) {
		return
	}
	if i, ok := c.companyIndex(id); ok {
		c.out.company(c.w.company(i), &c.v)
	}
}

func (c *call) companyPart(id, part string) {
	if !c.need(ScopeCompanies) {
		return
	}
	i, ok := c.companyIndex(id)
	if !ok {
		return
	}
	e := &c.out
	switch part {
	case "contacts":
		if !c.need(ScopeContacts) {
			return
		}
		members := c.w.membersOf(i)
		c.numbered(numberedList{path: "/companies/" + id + "/contacts", key: "data", size: 50, limit: 60, n: len(members), row: func(k int) {
			e.contact(c.w.contact(members[k]), &c.v)
		}})
	case "segments":
		e.open()
		e.raw("type", `"list"`)
		e.list("data")
		for _, s := range c.w.company(i).segments {
			e.segment(c.w, s, false)
		}
		e.closeList()
		e.close()
	case "notes":
		c.numbered(numberedList{path: "/companies/" + id + "/notes", key: "data", size: 50, limit: 60, n: c.w.company(i).notes, row: func(k int) {
			e.note(c.w, "company", id, 27_000_000+i*64+k, c.w.created(Companies, i)+int64(k))
		}})
	default:
		c.notFound("The requested resource was not found")
	}
}

// filterCompanies serves GET /companies, which wants one of four filters.
func (c *call) filterCompanies() {
	if !c.need(ScopeCompanies) {
		return
	}
	byID, name, tag, segment := c.param("company_id"), c.param("name"), c.param("tag_id"), c.param("segment_id")
	if byID == "" && name == "" && tag == "" && segment == "" {
		c.fail(400, "parameter_not_found", "One of company_id, name, tag_id and segment_id is required")
		return
	}
	var found []int
	for i := range c.w.count(Companies) {
		if !c.w.alive(Companies, i) {
			continue
		}
		k := c.w.company(i)
		switch {
		case byID != "" && k.companyID == byID, byID == "" && name != "" && k.name == name:
			c.out.company(k, &c.v)
			return
		case byID == "" && name == "" && tag != "" && slices.Contains(idsOf(k.tags, tagID), tag),
			byID == "" && name == "" && tag == "" && slices.Contains(idsOf(k.segments, c.w.segmentID), segment):
			found = append(found, i)
		}
	}
	if byID != "" || name != "" {
		c.fail(404, "company_not_found", "Company Not Found")
		return
	}
	c.numbered(numberedList{path: "/companies", key: "data", size: 15, limit: 60, n: len(found), row: func(i int) {
		c.out.company(c.w.company(found[i]), &c.v)
	}})
}

// listCompanies serves POST /companies/list: a write scope, companies with people
// only, newest request first, and an end at 10,000.
func (c *call) listCompanies() {
	if !c.need(ScopeCompanies | ScopeWriteCompanies) {
		return
	}
	c.shake(Companies)
	var list []int
	last := map[int]int64{}
	for i := range c.w.count(Companies) {
		if c.w.alive(Companies, i) && c.w.memberCount(i) > 0 {
			list = append(list, i)
			last[i] = c.w.company(i).lastRequest
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return int(last[b] - last[a]) })
	if c.param("order") == "asc" {
		slices.Reverse(list)
	}
	c.numbered(numberedList{path: "/companies/list", key: "data", size: 15, limit: 60, n: len(list), cut: companyListLimit, row: func(i int) {
		c.out.company(c.w.company(list[i]), &c.v)
	}})
}

// scrollState is the one scroll that a workspace may have open.
type scrollState struct {
	mu    sync.Mutex
	param string
	at    int
	used  time.Time
	made  int
}

// scrollCompanies serves the scroll. A page that was sent is gone, whether or not
// it arrived: the parameter stays the same and each call moves on.
func (c *call) scrollCompanies() {
	if !c.need(ScopeCompanies) {
		return
	}
	c.shake(Companies)
	w, s := c.w, &c.w.scrolls
	s.mu.Lock()
	defer s.mu.Unlock()
	now := w.opts.Now()
	if s.param != "" && now.Sub(s.used) > w.opts.ScrollIdle {
		s.param = ""
	}
	given := c.param("scroll_param")
	switch {
	case c.hit(FaultScrollHeld) != nil && given == "", given == "" && s.param != "":
		c.fail(400, "scroll_exists", "scroll already exists for this workspace")
		return
	case given == "":
		s.made++
		s.at = 0
		s.param = fmt.Sprintf("%08x-ab5b-42ac-b004-%012x", uint32(mix64(w.opts.Seed)), s.made)
	case given != s.param:
		c.notFound("scroll parameter not found")
		return
	}
	if c.hit(FaultScrollFails) != nil {
		s.param = ""
		c.fail(500, "server_error", "Request failed due to an internal network error. Please restart the scroll operation.")
		return
	}
	s.used = now
	e := &c.out
	e.open()
	e.raw("type", `"list"`)
	e.list("data")
	rows := 0
	for n := w.count(Companies); s.at < n && rows < w.opts.ScrollPage; s.at++ {
		if w.alive(Companies, s.at) {
			e.company(w.company(s.at), &c.v)
			rows++
		}
	}
	e.closeList()
	e.null("pages")
	e.null("total_count")
	e.str("scroll_param", s.param)
	e.close()
	if rows == 0 {
		s.param = ""
	}
}
