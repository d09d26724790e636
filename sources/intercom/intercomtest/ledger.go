package intercomtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode"
)

// Ledger tells what the workspace holds at the moment of each call. It is made
// from the state itself and shares no code with the JSON that the API sends, so
// that a test can hold a loaded database against it. It may be used while the
// workspace changes; each object is read whole.
type Ledger struct{ w *Workspace }

// Ledger gives the workspace's own account of its content.
func (w *Workspace) Ledger() Ledger { return Ledger{w} }

// Counts are living objects per kind, and what is gone.
type Counts struct {
	Contacts             int `json:"contacts"`
	Companies            int `json:"companies"`
	Conversations        int `json:"conversations"`
	Tickets              int `json:"tickets"`
	DeletedConversations int `json:"deleted_conversations"`
	MergedContacts       int `json:"merged_contacts"`
	// Messages counts the visible messages of all conversations that have a text.
	// It is filled in by Ledger.Totals only, which has to make every conversation.
	Messages int `json:"messages,omitempty"`
	// Hidden counts the parts of all conversations that the API withholds.
	Hidden int `json:"hidden,omitempty"`
}

// Of gives the count of one kind.
func (c Counts) Of(k Kind) int {
	switch k {
	case Contacts:
		return c.Contacts
	case Companies:
		return c.Companies
	case Conversations:
		return c.Conversations
	case Tickets:
		return c.Tickets
	}
	return 0
}

// Message is one message as a reader of the API can know it.
type Message struct {
	// ID is the part's id; for the opening message it is the source's id.
	ID     string `json:"id"`
	Source bool   `json:"source,omitempty"`
	// PartType is the type of the part, "" for the opening message.
	PartType   string `json:"part_type,omitempty"`
	AuthorType string `json:"author_type,omitempty"`
	AuthorID   string `json:"author_id,omitempty"`
	CreatedAt  int64  `json:"created_at"`
	Redacted   bool   `json:"redacted,omitempty"`
	Note       bool   `json:"note,omitempty"`
	// Text is what the author wrote, as a reader sees it, without markup; paragraphs
	// are divided by newlines. Quoted is what the author only quoted. HasText is
	// false for events, and for bodies of nothing but blanks. A redacted message
	// has no text.
	HasText     bool   `json:"has_text"`
	Text        string `json:"text,omitempty"`
	Quoted      string `json:"quoted,omitempty"`
	TextHash    string `json:"text_hash,omitempty"`
	Attachments int    `json:"attachments,omitempty"`
}

// LedgerConversation is a living conversation.
type LedgerConversation struct {
	ID        string   `json:"id"`
	CreatedAt int64    `json:"created_at"`
	UpdatedAt int64    `json:"updated_at"`
	State     string   `json:"state"`
	Contacts  []string `json:"contacts,omitempty"`
	// ContactGone says that the contact named does not exist any more.
	ContactGone bool   `json:"contact_gone,omitempty"`
	Company     string `json:"company,omitempty"`
	TicketID    string `json:"ticket_id,omitempty"`
	// DialogID is the id of the dialogue of Options.Dialogs that this is.
	DialogID string `json:"dialog_id,omitempty"`
	// TotalParts counts all parts, Hidden those that the API withholds because
	// there are more than 500. Messages are the opening message and all visible
	// parts, oldest first.
	TotalParts int       `json:"total_parts"`
	Hidden     int       `json:"hidden,omitempty"`
	Messages   []Message `json:"messages"`
	Odd        bool      `json:"odd,omitempty"`
}

// LedgerContact is a living contact.
type LedgerContact struct {
	ID               string            `json:"id"`
	ExternalID       string            `json:"external_id,omitempty"`
	Role             string            `json:"role"`
	Email            string            `json:"email,omitempty"`
	Name             string            `json:"name,omitempty"`
	CreatedAt        int64             `json:"created_at"`
	UpdatedAt        int64             `json:"updated_at"`
	Companies        []string          `json:"companies,omitempty"`
	Tags             int               `json:"tags,omitempty"`
	CustomAttributes map[string]string `json:"custom_attributes,omitempty"` // values as JSON
	MergedFrom       []string          `json:"merged_from,omitempty"`
}

// LedgerCompany is a living company.
type LedgerCompany struct {
	ID        string `json:"id"`
	CompanyID string `json:"company_id,omitempty"`
	Name      string `json:"name,omitempty"`
	Website   string `json:"website,omitempty"`
	Plan      string `json:"plan,omitempty"`
	UserCount int    `json:"user_count"`
	CreatedAt int64  `json:"created_at"`
	UpdatedAt int64  `json:"updated_at"`
}

// LedgerTicket is a living ticket.
type LedgerTicket struct {
	ID       string `json:"id"`
	TicketID string `json:"ticket_id"`
	Category string `json:"category"`
	TypeName string `json:"type_name"`
	// State is the category of the ticket's state, as the API reports it.
	State string `json:"state"`
	Title string `json:"title,omitempty"`
	// Conversation says that a conversation has the same id.
	Conversation bool      `json:"conversation,omitempty"`
	Contacts     []string  `json:"contacts,omitempty"`
	CreatedAt    int64     `json:"created_at"`
	UpdatedAt    int64     `json:"updated_at"`
	TotalParts   int       `json:"total_parts"`
	Messages     []Message `json:"messages"`
}

// Deleted is an object that is gone: deleted, or, if Into is set, merged.
type Deleted struct {
	Kind Kind   `json:"kind"`
	ID   string `json:"id"`
	At   int64  `json:"at,omitempty"`
	Into string `json:"into,omitempty"`
	// Before says that it was gone before the workspace was opened.
	Before bool `json:"before,omitempty"`
}

// NormalizeText is the form in which texts are compared: control characters,
// replacement characters and zero-width blanks are left out, all other blank
// space is one blank. Two programs that turn the same HTML into text rarely agree
// on more than this.
func NormalizeText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar, r == '\u200b', r == '\ufeff':
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// HashText is 16 bytes of the SHA-256 of the normalized text, in hex.
func HashText(s string) string {
	h := sha256.Sum256([]byte(NormalizeText(s)))
	return hex.EncodeToString(h[:16])
}

// Counts counts without making objects.
func (l Ledger) Counts() Counts {
	w := l.w
	w.mu.RLock()
	defer w.mu.RUnlock()
	c := Counts{DeletedConversations: len(w.gone)}
	n := map[Kind]int{}
	for _, s := range w.shelves {
		n[s.kind] = s.total()
		for _, d := range s.deltas {
			if d.gone() {
				n[s.kind]--
			}
			if d.deleted != 0 && s.kind == Conversations {
				c.DeletedConversations++
			}
			if d.into != 0 {
				c.MergedContacts++
			}
		}
	}
	c.Contacts, c.Companies, c.Conversations, c.Tickets = n[Contacts], n[Companies], n[Conversations], n[Tickets]
	return c
}

// Totals counts messages as well, which takes a walk over all conversations.
func (l Ledger) Totals() Counts {
	c := l.Counts()
	for conv := range l.Conversations() {
		c.Hidden += conv.Hidden
		for _, m := range conv.Messages {
			if m.HasText {
				c.Messages++
			}
		}
	}
	return c
}

func each[T any](w *Workspace, k Kind, make func(i int) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := range w.count(k) {
			if w.alive(k, i) && !yield(make(i)) {
				return
			}
		}
	}
}

// IDs walks the ids of the living objects of a kind, oldest first, without making
// the objects.
func (l Ledger) IDs(k Kind) iter.Seq[string] {
	return each(l.w, k, func(i int) string { return l.w.idOf(k, i) })
}

// Conversations walks the living conversations, oldest first.
func (l Ledger) Conversations() iter.Seq[LedgerConversation] {
	return each(l.w, Conversations, l.conversation)
}

// Conversation gives one by id.
func (l Ledger) Conversation(id string) (LedgerConversation, bool) {
	i, ok := l.w.find(Conversations, id)
	if !ok || !l.w.alive(Conversations, i) {
		return LedgerConversation{}, false
	}
	return l.conversation(i), true
}

func (l Ledger) conversation(i int) LedgerConversation {
	c := l.w.conversation(i)
	out := LedgerConversation{
		ID: c.id, CreatedAt: c.created, UpdatedAt: c.updated, State: c.state.String(), TotalParts: len(c.parts), DialogID: c.dialogID,
		ContactGone: c.contact != contactNone && l.w.customer(c.contact) == nil, Odd: c.odd != 0,
	}
	if c.odds.state != "" {
		out.State = c.odds.state
	}
	for _, r := range c.contacts {
		out.Contacts = append(out.Contacts, r.id)
	}
	if c.company >= 0 && l.w.alive(Companies, c.company) {
		out.Company = l.w.companyID(c.company)
	}
	if c.ticket >= 0 {
		out.TicketID = c.id
	}
	m := Message{ID: c.sourceID, Source: true, CreatedAt: c.created, Redacted: c.redacted, Attachments: len(c.files), AuthorType: c.author.typ, AuthorID: c.author.id}
	m.say(c.body)
	out.Messages = append(out.Messages, m)
	parts := c.parts
	if len(parts) > maxParts {
		out.Hidden = len(parts) - maxParts
		parts = parts[out.Hidden:]
	}
	out.Messages = append(out.Messages, messages(parts)...)
	return out
}

func messages(parts []part) []Message {
	out := make([]Message, 0, len(parts)+1)
	for _, p := range parts {
		m := Message{ID: decimal(p.id), PartType: p.typ, CreatedAt: p.created, Redacted: p.redacted, Attachments: len(p.files)}
		if !p.noAuthor {
			m.AuthorType, m.AuthorID = p.author.typ, p.author.id
		}
		m.Note = strings.HasPrefix(p.typ, "note")
		m.say(p.body)
		out = append(out, m)
	}
	return out
}

func (m *Message) say(t text) {
	if t.null || m.Redacted || NormalizeText(t.plain) == "" {
		return
	}
	m.HasText, m.Text, m.Quoted, m.TextHash = true, t.plain, t.quoted, HashText(t.plain)
}

// Contacts walks the living contacts, oldest first.
func (l Ledger) Contacts() iter.Seq[LedgerContact] { return each(l.w, Contacts, l.contact) }

func (l Ledger) contact(i int) LedgerContact {
	c := l.w.contact(i)
	out := LedgerContact{
		ID: c.id, ExternalID: c.externalID, Role: c.role, Email: c.email, Name: c.name, CreatedAt: c.created, UpdatedAt: c.updated, Tags: len(c.tags),
	}
	for _, k := range c.companies {
		if l.w.alive(Companies, k) {
			out.Companies = append(out.Companies, l.w.companyID(k))
		}
	}
	for _, a := range c.attributes {
		if out.CustomAttributes == nil {
			out.CustomAttributes = map[string]string{}
		}
		out.CustomAttributes[a.name] = a.value
	}
	for _, m := range c.mergedFrom {
		out.MergedFrom = append(out.MergedFrom, m.id)
	}
	return out
}

// Companies walks the living companies, oldest first.
func (l Ledger) Companies() iter.Seq[LedgerCompany] {
	return each(l.w, Companies, func(i int) LedgerCompany {
		c := l.w.company(i)
		out := LedgerCompany{
			ID: c.id, CompanyID: c.companyID, Name: c.name, Website: c.website, CreatedAt: c.created, UpdatedAt: c.updated,
			UserCount: l.w.memberCount(i),
		}
		if c.plan >= 0 && c.odd != companyOddNullPlan {
			out.Plan = l.w.base().voc.plans[c.plan]
		}
		return out
	})
}

// Tickets walks the living tickets, oldest first.
func (l Ledger) Tickets() iter.Seq[LedgerTicket] {
	return each(l.w, Tickets, func(i int) LedgerTicket {
		t := l.w.ticket(i)
		out := LedgerTicket{
			ID: t.id, TicketID: fmt.Sprint(t.number), Category: ticketTypes[t.typ].category, TypeName: ticketTypes[t.typ].name,
			State: ticketStates[t.state].category, Title: t.title, Conversation: t.conversation >= 0, CreatedAt: t.created, UpdatedAt: t.updated,
			TotalParts: len(t.parts), Messages: messages(visible(t.parts)),
		}
		if t.odd == ticketOddUnknownState {
			out.State = ticketStateUnknown
		}
		for _, r := range t.contacts {
			out.Contacts = append(out.Contacts, r.id)
		}
		return out
	})
}

// Deleted walks what is gone: what was deleted or merged since the workspace was
// opened, and the conversations and contacts that were gone before.
func (l Ledger) Deleted() iter.Seq[Deleted] {
	return func(yield func(Deleted) bool) {
		w := l.w
		for _, s := range w.shelves {
			w.mu.RLock()
			indexes := sortedIndexes(s.deltas)
			w.mu.RUnlock()
			for _, i := range indexes {
				d := w.delta(s.kind, i)
				if !d.gone() {
					continue
				}
				out := Deleted{Kind: s.kind, ID: w.idOf(s.kind, i), At: d.deleted}
				if d.into != 0 {
					out.Into = w.idOf(Contacts, w.survivor(i))
				}
				if !yield(out) {
					return
				}
			}
		}
		w.mu.RLock()
		gone := w.gone
		w.mu.RUnlock()
		for _, g := range gone {
			if !yield(Deleted{Kind: Conversations, ID: g.id, At: g.at, Before: true}) {
				return
			}
		}
		if _, ok := w.gen.(*dialogued); ok {
			return
		}
		for i := range w.shelf(Contacts).base {
			if hasSwallowed(i) && !yield(Deleted{Kind: Contacts, ID: w.base().mergedID(i), Into: w.idOf(Contacts, w.survivor(i)), Before: true}) {
				return
			}
		}
	}
}

// WriteJSON writes the ledger as JSON lines, each {"kind": ..., "object": ...}; the
// first line are the counts. An empty kind is all of them; "deleted" and "counts"
// are kinds as well, and so is "files", which has to be asked for.
func (l Ledger) WriteJSON(to io.Writer, only Kind) error {
	e := json.NewEncoder(to)
	known := false
	line := func(k Kind, v any) error {
		return e.Encode(struct {
			Kind   Kind `json:"kind"`
			Object any  `json:"object"`
		}{k, v})
	}
	want := func(k Kind) bool {
		known = known || only == "" || only == k
		return only == "" || only == k
	}
	if want("counts") {
		if err := line("counts", l.Counts()); err != nil {
			return err
		}
	}
	if only == "files" { // not part of all: every file has to be made
		return lines(true, only, l.Files(), line)
	}
	for _, err := range []error{
		lines(want(Contacts), Contacts, l.Contacts(), line), lines(want(Companies), Companies, l.Companies(), line),
		lines(want(Conversations), Conversations, l.Conversations(), line), lines(want(Tickets), Tickets, l.Tickets(), line),
		lines(want("deleted"), "deleted", l.Deleted(), line),
	} {
		if err != nil {
			return err
		}
	}
	if !known {
		return fmt.Errorf("ledger kind %q is not known", only)
	}
	return nil
}

func lines[T any](wanted bool, k Kind, seq iter.Seq[T], line func(Kind, any) error) error {
	if !wanted {
		return nil
	}
	for v := range seq {
		if err := line(k, v); err != nil {
			return fmt.Errorf("write ledger: %w", err)
		}
	}
	return nil
}
