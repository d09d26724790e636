package intercomtest

import (
	"fmt"
	"sync"
	"time"
	_ "time/tzdata" // the machine that tests run on may have no time zones of its own
)

// Workspace is the simulated workspace: generated objects under a layer of
// changes. Its methods may be called by several goroutines at once.
type Workspace struct {
	opts Options
	gen  content
	loc  *time.Location

	mu       sync.RWMutex
	shelves  [4]*shelf
	version  uint64 // counts changes
	gone     []goneConversation
	touchSeq int

	members memberIndex
	scrolls scrollState
	limiter *limiter
	faults  faultSet
	stats   stats
	counts  countCache
	out     outbox
}

// shelf holds what is known of one kind beyond the generator: which objects
// were added and which were changed.
type shelf struct {
	kind   Kind
	base   int // objects that the generator knows
	born   []int64
	deltas map[int]*delta

	orderOnce sync.Once
	order     []uint64 // unchanged objects by updated_at, packed; read-only once made

	movedMu sync.Mutex
	moved   []uint64 // changed objects by updated_at
	movedAt uint64   // version of the workspace that moved was made for, plus 1
}

// delta is what happened to one object. It is replaced, never changed, so that a
// reader may go on with an old one.
type delta struct {
	updated int64 // 0: as generated
	deleted int64
	into    int // index of the contact that this one was merged into, plus 1
	ops     []op
}

// goneConversation is an entry of GET /conversations/deleted.
type goneConversation struct {
	id       string
	at       int64
	retained bool
}

// New makes a workspace. It does no work that grows with its size.
func New(o Options) (*Workspace, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	loc, err := time.LoadLocation(o.Timezone)
	if err != nil {
		return nil, fmt.Errorf("timezone %q: %w", o.Timezone, err)
	}
	w := &Workspace{opts: o, loc: loc}
	if len(o.Dialogs) > 0 {
		w.gen = newDialogued(&w.opts)
	} else {
		w.gen = newSynthetic(w.opts)
	}
	for i, k := range Kinds() {
		w.shelves[i] = &shelf{kind: k, base: w.gen.size(k), deltas: map[int]*delta{}}
	}
	r := newRNG(o.Seed, streamDeleted, 0)
	for i := range w.gen.size(Conversations) / 300 {
		w.gone = append(w.gone, goneConversation{
			id: conversationID(goneBase + i), at: o.Start.Unix() + int64(i+1)*86400 + int64(r.n(3600)), retained: r.permille(500),
		})
	}
	w.limiter = newLimiter(o)
	w.faults.seed = o.Seed
	w.stats.init()
	if err := w.SetFaults(o.Faults...); err != nil {
		return nil, err
	}
	return w, nil
}

// Options are the options in effect, defaults filled in.
func (w *Workspace) Options() Options { return w.opts }

func (w *Workspace) now() int64 { return w.opts.Now().Unix() }

func (w *Workspace) shelf(k Kind) *shelf {
	switch k {
	case Contacts:
		return w.shelves[0]
	case Companies:
		return w.shelves[1]
	case Conversations:
		return w.shelves[2]
	default:
		return w.shelves[3]
	}
}

// total counts the indexes of a kind, deleted objects included. The caller
// holds the lock.
func (s *shelf) total() int { return s.base + len(s.born) }

func (w *Workspace) delta(k Kind, i int) *delta {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.shelf(k).deltas[i]
}

// exists tells whether an index was ever given out.
func (w *Workspace) exists(k Kind, i int) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return i >= 0 && i < w.shelf(k).total()
}

// alive tells whether an object can be read.
func (w *Workspace) alive(k Kind, i int) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	s := w.shelf(k)
	if i < 0 || i >= s.total() {
		return false
	}
	d := s.deltas[i]
	return d == nil || !d.gone()
}

func (d *delta) gone() bool { return d.deleted != 0 || d.into != 0 }

func (w *Workspace) created(k Kind, i int) int64 {
	s := w.shelf(k)
	if i < s.base {
		return w.gen.created(k, i)
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	return s.born[i-s.base]
}

// updated is the object's present updated_at.
func (w *Workspace) updated(k Kind, i int) int64 {
	if d := w.delta(k, i); d != nil && d.updated != 0 {
		return d.updated
	}
	return w.gen.updated(k, i)
}

// head gives what lists need of a conversation, changes included.
func (w *Workspace) head(i int) convHead {
	d := w.delta(Conversations, i)
	h := w.gen.head(i, w.created(Conversations, i))
	if i >= w.shelf(Conversations).base {
		h.ticket, h.long = -1, false
	}
	if d != nil {
		d.applyHead(&h)
	}
	h.contact = w.survivor(h.contact)
	return h
}

// survivor follows merges to the contact that is left.
func (w *Workspace) survivor(contact int) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for range 100 {
		d := w.shelf(Contacts).deltas[contact]
		if d == nil || d.into == 0 {
			return contact
		}
		contact = d.into - 1
	}
	return contact
}

// customer gives the contact of a conversation or ticket, nil if it has none or
// it does not exist any more.
func (w *Workspace) customer(i int) *contact {
	if i < 0 || !w.alive(Contacts, i) {
		return nil
	}
	return w.contact(i)
}

// contactRefs is how a conversation or ticket names its contact.
func (w *Workspace) contactRefs(i int, c *contact) []contactRef {
	switch {
	case i == contactNone:
		return nil
	case c != nil:
		return []contactRef{{id: c.id, externalID: c.externalID, noExternalID: c.externalID == ""}}
	case i >= ghostBase:
		return []contactRef{{id: w.gen.contact(i, w.opts.Start.Unix()).id, noExternalID: true}}
	}
	return []contactRef{{id: w.contact(i).id, noExternalID: true}}
}

func (w *Workspace) conversation(i int) *conversation {
	h := w.head(i)
	customer := w.customer(h.contact)
	base := h
	d := w.delta(Conversations, i)
	if d != nil { // what was generated does not depend on what was changed later
		base = w.gen.head(i, h.created)
		base.contact, base.ticket, base.long = h.contact, h.ticket, h.long
	}
	var c *conversation
	if d != nil && d.replacesContent() {
		c = w.blank(h)
	} else {
		c = w.gen.conversation(base, customer)
	}
	c.contacts = w.contactRefs(h.contact, customer)
	if d != nil {
		w.applyConversation(c, d, customer)
	}
	return c
}

func (w *Workspace) contact(i int) *contact {
	c := w.gen.contact(i, w.created(Contacts, i))
	if i >= w.shelf(Contacts).base {
		c.mergedFrom, c.odd, c.updated = nil, 0, c.created
	}
	if d := w.delta(Contacts, i); d != nil {
		d.applyContact(c)
		if d.into != 0 {
			c.mergedInto = w.contact(w.survivor(i)).id
		}
	}
	return c
}

func (w *Workspace) company(i int) *company {
	c := w.gen.company(i, w.created(Companies, i))
	if d := w.delta(Companies, i); d != nil {
		d.applyCompany(c)
	}
	return c
}

func (w *Workspace) ticket(i int) *ticket {
	t := w.gen.ticket(i, w.created(Tickets, i))
	d := w.delta(Tickets, i)
	t.contact = w.survivor(t.contact)
	customer := w.customer(t.contact)
	t.contacts = w.contactRefs(t.contact, customer)
	if t.conversation >= 0 {
		w.ticketFromConversation(t)
	} else {
		w.gen.ticketParts(t, customer)
	}
	for i := range t.parts {
		if t.parts[i].author.typ == "lead" {
			t.parts[i].author.typ = "user" // tickets know no leads
		}
	}
	if d != nil {
		d.applyTicket(t, w)
	}
	return t
}

// ticketFromConversation gives a ticket that is a conversation as well the
// conversation's parts.
func (w *Workspace) ticketFromConversation(t *ticket) {
	c := w.conversation(t.conversation)
	t.updated, t.admin, t.team = c.updated, c.admin, c.team
	t.parts = c.parts
	for i := range t.parts {
		t.parts[i].ticketState = "submitted"
		if t.previousState >= 0 && i == len(t.parts)-1 {
			t.parts[i].ticketState, t.parts[i].previousTicketState = ticketStates[t.state].category, "submitted"
		}
	}
}

// find turns an id into an index, whether or not the object is still there.
func (w *Workspace) find(k Kind, id string) (int, bool) {
	var i int
	ok := false
	switch k {
	case Conversations:
		var ticketOnly bool
		i, ticketOnly, ok = parseDecimalID(id)
		ok = ok && !ticketOnly
	case Tickets:
		var ticketOnly bool
		i, ticketOnly, ok = parseDecimalID(id)
		if ok && !ticketOnly {
			if !w.exists(Conversations, i) {
				return 0, false
			}
			i = w.gen.head(i, w.created(Conversations, i)).ticket
			ok = i >= 0 && w.exists(Tickets, i)
		}
		if ok && w.exists(k, i) && ticketOnly && w.gen.ticketConversation(i) >= 0 {
			return 0, false
		}
	case Contacts:
		i, ok = w.ids().parseHexID(idContact, id)
		ok = ok && w.exists(k, i) && w.ids().hexID(idContact, i, w.created(k, i)) == id
	case Companies:
		i, ok = w.findCompany(id)
	}
	if !ok || !w.exists(k, i) {
		return 0, false
	}
	return i, true
}

func (w *Workspace) findCompany(id string) (int, bool) {
	compact := id
	if len(id) == 36 { // the UUID form carries too little of the index to be parsed
		for i := range w.count(Companies) {
			if i%50 == 9 && w.gen.company(i, w.created(Companies, i)).id == id {
				return i, true
			}
		}
		return 0, false
	}
	i, ok := w.ids().parseHexID(idCompany, compact)
	return i, ok && w.exists(Companies, i) && w.gen.company(i, w.created(Companies, i)).id == id
}

func (w *Workspace) count(k Kind) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.shelf(k).total()
}

func (w *Workspace) ids() *scrambler { return &scrambler{mask: w.opts.Seed} }
