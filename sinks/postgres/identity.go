package postgres

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"time"

	"haloingest/pipeline/record"
)

// This file decides which row an Intercom contact or company goes to (contract, "Identity"). It is pure: what is known is put
// in, what follows is read out, and nothing here talks to the database. Objects are decided one after the other, each on what the ones
// before it left behind, so that it does not matter how a history is cut into batches.
//
// The rules, in order: the row that the object is bound to; the row with its external id; a row with its e-mail address and no other
// external id; a new row. What depends on the order in which objects come, and cannot be helped without giving rows new ids:
//
//   - Of contacts that share a row, the first one gives the row its id.
//   - A contact without an external id that shares its address with two people stays with the one that was there first.
//   - An object leaves its row only for another external id, never because an address has changed.
//   - A column that the shown object leaves empty is filled by the first of the others that can.
//
// An object that was bound while another field of Intercom's was the external id (member.Field) is decided anew when it is read, like one that
// was never seen. After a full read under other fields the rows are those of a fresh load, but for what is history: rows that nobody is on any
// more stay, marked as deleted; activity stamps and custom fields stay on the row where they came; and a row of Halo's own keeps what was written
// over its values, by which others may be matched to it.

// Reasons of a binding, as they stand in ingest.id_map.
const (
	reasonCreated    = "created"
	reasonExternalID = "external_id"
	reasonEmail      = "email"
	reasonMerged     = "merged"
)

// claim is what an object says about who it is.
type claim struct {
	ID       string
	External string
	Email    string // as the database compares it; "" for companies
	Rank     int16  // a user counts for more than a lead
	Updated  time.Time
}

// member is an object that is bound to a row: an entry of ingest.id_map.
type member struct {
	ID       string
	Row      record.UUID
	Reason   string
	Rank     int16
	External string
	Native   bool      // the row was Halo's before any object came to it
	Updated  time.Time // of the state that was loaded last; zero if the object is known from a merge only
	Fetched  time.Time
	Hash     record.Digest // of that state; zero: to be loaded when it is seen again, whether it has changed or not
	Gone     time.Time     // zero: it is there
	Into     string        // the contact that it was merged into
	Field    string        // by which External was chosen when it was bound; "": not known

	Companies   []string
	LastRequest time.Time

	stored bool // the database has it
	dirty  bool // differs from what the database has
}

// body is a row of end_users or companies, as far as identity goes.
type body struct {
	ID       record.UUID
	External string
	Email    string // as the database compares it
	Content  string // the object whose content the row holds (source_id)
	Company  record.UUID
	Deleted  time.Time
	Native   bool

	// Stale says that the row has values of an object that has left it or is gone: whoever is loaded next makes it anew.
	Stale bool

	members []*member
	fresh   bool      // not in the database
	left    time.Time // when an object left it
	bare    bool      // what it shows is none of the objects on it as they were loaded
	since   time.Time // of a bare row: when what it shows was updated, as far as that was on it when it became bare
	waves   int       // how many objects have been laid over it in this batch, see arrival
	was     struct {
		External string
		Company  record.UUID
		Deleted  time.Time
	}
}

// move says that an object's links go from one row to another.
type move struct {
	ID       string
	From, To record.UUID
}

// identity is what is known of the objects of one kind that a batch is about, and of the rows that they could go to. Not safe
// for concurrent use.
type identity struct {
	org   record.UUID
	kind  record.Kind
	field string // of Intercom's that is the external id; "": whatever it was

	members   map[string]*member
	rows      map[record.UUID]*body
	external  map[string]*body
	email     map[string][]*body
	followers map[string][]string // by survivor: the contacts that were merged into it
	waiting   map[string][]tombstone

	moves   []move
	arrived []string // objects that had no row and have one now
	touched map[record.UUID]*body

	companies map[string]companyRef // contacts: those of their companies that are known

	asked    map[record.UUID]bool // rows that were looked up, found or not; nil: all
	wanted   []record.UUID        // rows that were not and should have been: what was decided is void
	reloaded map[string]bool      // objects that are to be loaded when they are seen next, since one left them or went
}

func newIdentity(org record.UUID, kind record.Kind) *identity {
	return &identity{
		org: org, kind: kind,
		members: make(map[string]*member), rows: make(map[record.UUID]*body),
		external: make(map[string]*body), email: make(map[string][]*body),
		followers: make(map[string][]string), waiting: make(map[string][]tombstone),
		touched: make(map[record.UUID]*body), reloaded: make(map[string]bool),
	}
}

// addRow makes a row of the database known.
func (d *identity) addRow(b *body) {
	if d.rows[b.ID] != nil {
		return
	}
	b.was.External, b.was.Company, b.was.Deleted = b.External, b.Company, b.Deleted
	d.rows[b.ID] = b
	// Halo's own data may hold an external id twice: the live row counts, then the lower id.
	if o := d.external[b.External]; b.External != "" && (o == nil || preferred(b, o)) {
		d.external[b.External] = b
	}
	d.addEmail(b)
}

func (d *identity) addEmail(b *body) {
	if b.Email != "" && !slices.Contains(d.email[b.Email], b) {
		d.email[b.Email] = append(d.email[b.Email], b)
	}
}

// addMember makes a binding of the database known. Its row must be known before, unless it is gone.
func (d *identity) addMember(m *member) {
	if d.members[m.ID] != nil {
		return
	}
	d.members[m.ID] = m
	if m.Into != "" {
		d.followers[m.Into] = append(d.followers[m.Into], m.ID)
	}
	if b := d.rows[m.Row]; b != nil {
		b.members = append(b.members, m)
	}
}

// ready is to be called when all rows and members are known: it finds out which rows are Halo's own. A row that some object is bound to says
// so itself; of the others those are ours that carry the mark of an orphan, or the id that this program gives.
func (d *identity) ready(claims []claim) {
	ours := make(map[record.UUID]bool, len(claims))
	for _, c := range claims {
		ours[record.RowID(d.org, d.kind, c.ID)] = true
	}
	for _, b := range d.rows {
		if len(b.members) > 0 {
			b.Native = b.members[0].Native
			continue
		}
		orphan := b.Content != "" && !b.Deleted.IsZero()
		b.Native = !orphan && !ours[b.ID]
	}
}

// bind decides the row of an object that has come and takes up its claims. at is when it came, for rows that are left empty.
func (d *identity) bind(c claim, at time.Time) (m *member, created bool) {
	m = d.members[c.ID]
	var current *body
	if m != nil {
		current = d.rows[m.Row]
	}
	stay := current
	anew := m != nil && d.older(m)
	if anew && current != nil {
		d.detach(m, current, m.External, at)
	}
	if anew || m != nil && m.Reason == reasonMerged {
		// Decided under another field, it is like one that was never seen. Newer than the word that it was merged, it is on its own again.
		stay = nil
	}
	to, reason := d.choose(c, stay)
	if created = to == nil; created {
		to, reason = d.create(c.ID), reasonCreated
	}
	if m == nil {
		m = &member{ID: c.ID}
		d.members[c.ID] = m
	}
	previous := m.External
	m.Rank, m.Updated, m.External, m.Field, m.dirty = c.Rank, c.Updated, c.External, d.field, true
	if d.void(to) {
		// It takes over what others have who are still to be decided anew: they leave when they come.
		d.release(to)
		d.reload(to, m)
		to.Stale = true
	}
	switch {
	case to != current:
		d.attach(m, to, reason, previous, at)
	case anew:
		m.Reason, m.Native = reason, to.Native
		to.members = append(to.members, m)
		d.settle(to)
	}
	if c.External == "" && to == current && d.alone(m, to) && to.External == previous {
		// It had one and has none any more: another field was chosen, or the customer's system took it back.
		d.release(to)
	}
	if c.External != "" && to.External != c.External {
		if d.external[to.External] == to {
			delete(d.external, to.External)
		}
		to.External = c.External
		d.external[c.External] = to
	}
	d.touched[to.ID] = to
	return m, created
}

// older reports whether an object was bound when another field was the external id. What it claims means nothing any more.
func (d *identity) older(m *member) bool {
	return d.field != "" && m.Field != "" && m.Field != d.field
}

// void reports whether a row of ours has objects on it, but none that was bound under today's field.
func (d *identity) void(b *body) bool {
	return !b.Native && len(b.members) > 0 && !slices.ContainsFunc(b.members, func(m *member) bool { return !d.older(m) })
}

// disown takes an external id off a row that has it from objects alone that were bound when another field was the external id.
func (d *identity) disown(b *body) {
	claimed := false
	for _, m := range b.members {
		if m.External != b.External {
			continue
		}
		if !d.older(m) || b.Native && m.Reason == reasonExternalID {
			return
		}
		claimed = true
	}
	if claimed || d.void(b) {
		d.touched[b.ID] = b
		d.release(b)
	}
}

// release takes its external id off a row.
func (d *identity) release(b *body) {
	if d.external[b.External] == b {
		delete(d.external, b.External)
	}
	b.External = ""
}

// alone reports whether the row is ours and m's only.
func (d *identity) alone(m *member, b *body) bool {
	return !b.Native && len(b.members) == 1 && b.members[0] == m
}

// choose returns the row that the object goes to and why, or nil for a new one. The reason of a binding that stays is its old one.
func (d *identity) choose(c claim, current *body) (*body, string) {
	if c.External == "" {
		if current != nil {
			return current, ""
		}
		return d.byEmail(c, nil), reasonEmail
	}
	if b := d.external[c.External]; b != nil {
		d.disown(b)
	}
	if b := d.external[c.External]; b != nil {
		return b, reasonExternalID
	}
	if current != nil && d.renames(current, c) {
		return current, ""
	}
	return d.byEmail(c, current), reasonEmail
}

// renames reports whether the row may take the object's external id, which no row has, in place of its own: nobody else on it
// claims the old one, and it is not one that Halo itself gave.
func (d *identity) renames(b *body, c claim) bool {
	if b.External == "" {
		return true
	}
	for _, m := range b.members {
		if b.Native && m.Reason == reasonExternalID || m.ID != c.ID && m.External == b.External {
			return false
		}
	}
	// A native row whose external id nobody here claims has it from Halo.
	return !b.Native || slices.ContainsFunc(b.members, func(m *member) bool { return m.External == b.External })
}

// byEmail finds a row by address, other than not. A row with an external id of its own is not for an object with another one.
func (d *identity) byEmail(c claim, not *body) *body {
	var best *body
	if c.Email == "" {
		return nil
	}
	for _, b := range d.email[c.Email] {
		abandoned := len(b.members) == 0 && !b.Deleted.IsZero()
		if b == not || abandoned || d.void(b) || b.Email != c.Email || c.External != "" && b.External != "" {
			continue
		}
		if best == nil || preferred(b, best) {
			best = b
		}
	}
	return best
}

// preferred says which of two rows that fit is taken: one that is not deleted, then the lower id.
func preferred(a, b *body) bool {
	if a.Deleted.IsZero() != b.Deleted.IsZero() {
		return a.Deleted.IsZero()
	}
	return bytes.Compare(a.ID[:], b.ID[:]) < 0
}

// create makes a new row with the object's own id, or, where that is taken by others, with the next one that is free. A row
// that was left empty is used again.
func (d *identity) create(id string) *body {
	name := id
	for n := 2; ; n++ {
		rowID := record.RowID(d.org, d.kind, name)
		b := d.rows[rowID]
		if b == nil {
			if d.asked != nil && !d.asked[rowID] {
				d.wanted = append(d.wanted, rowID)
			}
			b = &body{ID: rowID, fresh: true}
			d.rows[rowID] = b
			return b
		}
		if len(b.members) == 0 && !b.Native || d.void(b) {
			return b
		}
		name = id + "#" + strconv.Itoa(n)
	}
}

// attach binds m to a row and lets the contacts that were merged into it follow. previous is the external id that m claimed on
// the row that it leaves.
func (d *identity) attach(m *member, to *body, reason, previous string, at time.Time) {
	from := d.rows[m.Row]
	if from != nil {
		d.detach(m, from, previous, at)
		d.moves = append(d.moves, move{m.ID, from.ID, to.ID})
	} else {
		d.arrived = append(d.arrived, m.ID)
	}
	m.Row, m.Reason, m.Native, m.Field, m.dirty = to.ID, reason, to.Native, d.field, true
	to.members = append(to.members, m)
	d.touched[to.ID] = to
	d.settle(to)
	d.lead(m, at)
}

// detach takes m off a row. What the row has from m alone is taken off with it: the external id at once, where that can be known,
// and all else when the others on it are loaded again. A row of Halo's own that nobody is on any more names nobody.
func (d *identity) detach(m *member, from *body, external string, at time.Time) {
	from.members = slices.DeleteFunc(from.members, func(o *member) bool { return o == m })
	from.left = at
	d.touched[from.ID] = from
	claimed := slices.ContainsFunc(from.members, func(o *member) bool { return o.External == from.External })
	own := from.External == external && !(from.Native && m.Reason == reasonExternalID)
	if from.External != "" && !claimed && (own || !from.Native && len(from.members) == 0) {
		d.release(from)
	}
	d.without(from, m)
	d.settle(from)
}

// without takes up that a row has values of m and should not: it is made anew from the others, who are loaded when they are seen next,
// changed or not. Until then it bears the name of who of them shows. A contact that came to the row by a merge has given it nothing.
func (d *identity) without(b *body, m *member) {
	shown, left := b.Content == m.ID, !slices.Contains(b.members, m)
	switch {
	case b.Native && len(b.members) == 0:
		if b.Content != "" {
			b.Content = ""
			b.strip()
		}
		return
	case !shown && (m.Reason == reasonMerged || m.Fetched.IsZero() || m.Hash == (record.Digest{})):
		return // it has given the row nothing, or nothing since that was made anew or is to be
	}
	heir := d.reload(b, m)
	switch {
	case heir != nil:
		b.Stale = true
		if shown {
			b.Content = heir.ID
		}
		b.strip()
	case b.Native && shown && left:
		b.Content = ""
		b.strip()
	}
}

// strip makes a row bare. Who leaves it after that, in the same batch, takes nothing more from it: in a batch of its own neither would.
func (b *body) strip() {
	b.bare, b.since = true, time.Time{}
	if m := b.shown(); m != nil {
		b.since = m.Updated
	}
}

// reload has the objects on a row other than m that are there loaded when they are seen next, and returns the one that shows among them, nil if
// there is none.
func (d *identity) reload(b *body, m *member) (heir *member) {
	for _, o := range b.members {
		if o == m || o.Fetched.IsZero() || !o.Gone.IsZero() {
			continue
		}
		if o.Hash != (record.Digest{}) {
			o.Hash, o.dirty = record.Digest{}, true
		}
		d.reloaded[o.ID] = true
		if heir == nil || compareMembers(o, heir) < 0 {
			heir = o
		}
	}
	return heir
}

// shown is the object whose content the row says it holds, nil if it is none of those that are on it.
func (b *body) shown() *member {
	for _, m := range b.members {
		if m.ID == b.Content {
			return m
		}
	}
	return nil
}

// lead moves the contacts that were merged into m to m's row, and in turn those merged into them.
func (d *identity) lead(m *member, at time.Time) {
	to := d.rows[m.Row]
	for _, t := range d.waiting[m.ID] {
		if d.members[t.ID] == nil {
			d.members[t.ID] = &member{ID: t.ID}
			d.followers[m.ID] = append(d.followers[m.ID], t.ID)
			d.members[t.ID].Gone, d.members[t.ID].Into = t.At, t.Into
		}
	}
	for _, id := range d.followers[m.ID] {
		f := d.members[id]
		if f == nil || f == m || f.Into != m.ID || f.Row == m.Row && d.rows[f.Row] != nil {
			continue
		}
		d.attach(f, to, reasonMerged, f.External, at)
	}
}

// bury takes up that an object is gone; a merged contact goes where the survivor is. It reports whether anything changed.
func (d *identity) bury(t tombstone) bool {
	m := d.members[t.ID]
	var survivor *member
	if t.Into != "" {
		survivor = d.members[t.Into]
	}
	if survivor != nil && d.rows[survivor.Row] == nil {
		survivor = nil
	}
	if m == nil {
		if survivor == nil {
			d.wait(t)
			return false
		}
		m = &member{ID: t.ID}
		d.members[t.ID] = m
	}
	changed := !m.Gone.Equal(t.At) || m.Into != t.Into
	there := m.Gone.IsZero()
	m.Gone, m.Into, m.dirty = t.At, t.Into, m.dirty || changed
	if b := d.rows[m.Row]; b != nil {
		d.touched[b.ID] = b
		d.settle(b)
		if there || b.Content == m.ID {
			d.without(b, m)
		}
	}
	if t.Into != "" {
		d.followers[t.Into] = append(d.followers[t.Into], t.ID)
	}
	if survivor != nil && (m.Row != survivor.Row || d.rows[m.Row] == nil) {
		d.attach(m, d.rows[survivor.Row], reasonMerged, m.External, t.At)
		return true
	}
	return changed
}

// wait notes that a contact which was never seen was merged into one that is not known either.
func (d *identity) wait(t tombstone) {
	for into, list := range d.waiting {
		d.waiting[into] = slices.DeleteFunc(list, func(o tombstone) bool { return o.ID == t.ID })
	}
	if t.Into != "" {
		d.waiting[t.Into] = append(d.waiting[t.Into], t)
	}
}

// single reports whether nobody else is on the row, but for those who leave it when they are decided anew.
func (d *identity) single(m *member, b *body) bool {
	return !slices.ContainsFunc(b.members, func(o *member) bool { return o != m && !d.older(o) })
}

// wins reports whether the row shows m's content: what is there before what is gone, and that before what was merged from another
// row; a user before a lead; then the newest state; then the lower id.
func (d *identity) wins(m *member) bool {
	for _, o := range d.rows[m.Row].members {
		if o != m && !d.older(o) && compareMembers(o, m) < 0 {
			return false
		}
	}
	return true
}

func compareMembers(a, b *member) int {
	if a.Gone.IsZero() != b.Gone.IsZero() {
		if a.Gone.IsZero() {
			return -1
		}
		return 1
	}
	if merged := b.Reason == reasonMerged; merged != (a.Reason == reasonMerged) {
		if merged {
			return -1
		}
		return 1
	}
	return cmp.Or(-cmp.Compare(a.Rank, b.Rank), -a.Updated.Compare(b.Updated), cmp.Compare(a.ID, b.ID))
}

// settle gives a row its mark: deleted when all objects on it are gone or none is left. Halo's own rows are never marked: that an
// Intercom contact is gone does not make somebody cease to be Halo's user. It is called whenever a row may have changed, because a row that
// is there is preferred to one that is not.
func (d *identity) settle(b *body) {
	if b.Native {
		return
	}
	if len(b.members) == 0 {
		if !b.left.IsZero() {
			b.Deleted = b.left
		}
		return
	}
	b.Deleted = b.members[0].Gone
	for _, m := range b.members[1:] {
		if b.Deleted.IsZero() || m.Gone.IsZero() {
			b.Deleted = time.Time{}
			return
		}
		if m.Gone.After(b.Deleted) {
			b.Deleted = m.Gone
		}
	}
}
